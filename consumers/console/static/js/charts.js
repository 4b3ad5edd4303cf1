// ECharts, in the colours of the page; loaded when a page first draws a chart. No motion, no HTML
// in tooltips (they are painted), and every chart has its numbers as a table beside it.
import { h } from "./dom.js";

let loading = null;
const drawn = new Set();

export function colour(name) {
  const probe = document.getElementById("probe") || document.body.appendChild(h("span", { id: "probe", hidden: true }));
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

export function faint(name, alpha) {
  const [r, g, b] = colour(name).match(/[\d.]+/g).map(Number);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

// label: what it shows, for who does not see it. option: () => ECharts' own, without what is common.
export function chart(label, option, height = 230) {
  const box = h("div", { class: "chart", role: "img", "aria-label": label });
  box.style.height = `${height}px`;
  const one = { box, option, chart: null };
  drawn.add(one);
  loading ||= import("/static/vendor/echarts.esm.min.js");
  loading.then((echarts) => {
    if (!box.isConnected) { drawn.delete(one); return; }
    one.chart = echarts.init(box, null, { renderer: "canvas" });
    paint(one);
    one.resize = new ResizeObserver(() => one.chart && one.chart.resize());
    one.resize.observe(box);
  }).catch((why) => { // not loaded: the next page tries again; its numbers are in the table
    if (one.chart) throw why;
    loading = null;
    drawn.delete(one);
  });
  box.update = (next) => { one.option = next; if (one.chart) paint(one); };
  return box;
}

function paint(one) {
  one.chart.setOption({ ...common(), ...one.option() }, { notMerge: true });
  one.box.dataset.drawn = "yes";
}

// Charts that are no longer on the page are let go.
export function sweep() {
  for (const one of [...drawn]) {
    if (one.chart && !one.box.isConnected) {
      one.resize.disconnect();
      one.chart.dispose();
      drawn.delete(one);
    }
  }
}

export function recolour() { for (const one of drawn) if (one.chart) paint(one); }

function common() {
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 12, color: colour("muted") },
    grid: { left: 8, right: 14, top: 30, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    aria: { enabled: false },
  };
}

export function tooltip(extra = {}) {
  return {
    trigger: "axis", renderMode: "richText", confine: true, backgroundColor: colour("panel"), borderColor: colour("control"),
    borderWidth: 1, textStyle: { color: colour("ink"), fontSize: 12 }, axisPointer: { lineStyle: { color: colour("control") } },
    ...extra,
  };
}

export function legend(names) {
  return { data: names, top: 0, left: 0, itemWidth: 14, itemHeight: 8, itemGap: 14, icon: "roundRect", textStyle: { color: colour("muted"), fontSize: 12 }, inactiveColor: colour("line") };
}

export function axisTime(format, min, max) {
  return {
    type: "value", min, max, axisLine: { lineStyle: { color: colour("line") } }, axisTick: { show: false },
    splitLine: { show: false }, axisLabel: { color: colour("muted"), formatter: format, hideOverlap: true, showMinLabel: true, showMaxLabel: false }, splitNumber: 5,
    axisPointer: { label: { show: false } },
  };
}

export function axisValue(extra = {}) {
  return {
    type: "value", splitNumber: 3, axisLine: { show: false }, axisTick: { show: false },
    splitLine: { lineStyle: { color: colour("line") } }, axisLabel: { color: colour("muted") }, ...extra,
  };
}

export function line(name, data, token, extra = {}) {
  return {
    name, type: "line", data, showSymbol: data.length < 2, symbolSize: 5, itemStyle: { color: colour(token) },
    lineStyle: { color: colour(token), width: 1.75 }, connectNulls: false, emphasis: { disabled: true }, ...extra,
  };
}

// The newest in the accent, older ones in greys: which one answers now is seen at once.
export const SERIES = ["s1", "s2", "s3"];
export function seriesToken(place) { return SERIES[Math.min(place, SERIES.length - 1)]; }
