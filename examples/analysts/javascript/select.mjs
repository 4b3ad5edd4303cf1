// Accuracy by version and day, then single rows with a bound parameter, through ClickHouse's own client.
//   npm ci && MILLSTREAM_WAREHOUSE_URL=http://127.0.0.1:8123 node select.mjs loans L-5
import { createClient } from '@clickhouse/client'

const [database, eventId] = process.argv.slice(2)
const client = createClient({
  url: process.env.MILLSTREAM_WAREHOUSE_URL ?? 'http://127.0.0.1:8123',
  username: process.env.MILLSTREAM_WAREHOUSE_USERNAME ?? 'default',
  password: process.env.MILLSTREAM_WAREHOUSE_PASSWORD ?? '',
  database,
  clickhouse_settings: { readonly: '2' },
})
try {
  const performance = await client.query({
    query: 'SELECT day, model_version, labels, accuracy FROM performance_by_version_and_day ORDER BY day, model_version',
    format: 'JSONEachRow',
  })
  const answer = await client.query({
    query: 'SELECT event_id, model_version, predicted, outcome FROM scored_events WHERE event_id = {id:String}',
    query_params: { id: eventId },
    format: 'JSONEachRow',
  })
  // A long answer comes as a stream: its rows are counted as they come.
  const all = await client.query({ query: 'SELECT source_offset FROM predictions_once', format: 'JSONEachRow' })
  let streamed = 0
  for await (const rows of all.stream()) streamed += rows.length
  console.log(JSON.stringify({ performance: await performance.json(), answer: await answer.json(), streamed }))
} finally {
  await client.close()
}
