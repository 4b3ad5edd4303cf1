package bench;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OnnxTensorLike;
import ai.onnxruntime.OnnxValue;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/** Decode, score, encode: one for each thread, around one ONNX session for all. */
final class Model implements AutoCloseable {
  private static final int FRAME_BYTES = 5;
  private static final int ROWS_MAX = 1024;

  /** ONNX Runtime's session, which threads may share. */
  static final class Shared implements AutoCloseable {
    final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    final OrtSession session;
    final Schema schema;

    Shared(Job job) throws OrtException, IOException {
      OrtSession.SessionOptions options = new OrtSession.SessionOptions();
      options.setIntraOpNumThreads(1); // a second thread slows single rows down
      options.setInterOpNumThreads(1);
      options.addConfigEntry("session.intra_op.allow_spinning", "0");
      session = environment.createSession(job.model(), options);
      schema = new Schema.Parser().parse(new File(job.schema()));
    }

    @Override
    public void close() throws OrtException {
      session.close();
    }
  }

  private final Shared shared;
  private final Job job;
  private final GenericDatumReader<GenericRecord> reader;
  private final int[] features;
  private final int id;
  private final int at;
  private final boolean wide;
  private final Set<String> outputs;
  private final ByteBuffer rows;
  private final DoubleBuffer doubles;
  private final FloatBuffer floats;
  private final OnnxTensor single;
  private final ByteBuffer answer = ByteBuffer.allocate(512).order(ByteOrder.LITTLE_ENDIAN);
  private BinaryDecoder decoder;
  private GenericRecord event;

  Model(Job job, Shared shared) throws OrtException {
    this.job = job;
    this.shared = shared;
    reader = new GenericDatumReader<>(shared.schema);
    features = job.features().stream().mapToInt(n -> shared.schema.getField(n).pos()).toArray();
    id = shared.schema.getField("id").pos();
    at = shared.schema.getField("at").pos();
    wide = job.width().equals("float64");
    outputs = Set.of(job.scores());
    rows = ByteBuffer.allocateDirect(8 * features.length * ROWS_MAX).order(ByteOrder.nativeOrder());
    doubles = rows.asDoubleBuffer();
    floats = rows.asFloatBuffer();
    single = tensor(1);
  }

  /** One event's answer. */
  byte[] answer(byte[] value) throws IOException, OrtException {
    decode(value);
    put(0);
    String name = event.get(id).toString();
    long time = (Long) event.get(at);
    return encode(name, time, scores(single, 1)[0]);
  }

  /** The answers of a batch. */
  List<byte[]> answers(List<byte[]> values) throws IOException, OrtException {
    List<byte[]> made = new ArrayList<>(values.size());
    for (int start = 0; start < values.size(); start += ROWS_MAX) {
      int count = Math.min(ROWS_MAX, values.size() - start);
      String[] names = new String[count];
      long[] times = new long[count];
      for (int i = 0; i < count; i++) {
        decode(values.get(start + i));
        put(i);
        names[i] = event.get(id).toString();
        times[i] = (Long) event.get(at);
      }
      double[] found;
      try (OnnxTensor batch = tensor(count)) {
        found = scores(batch, count);
      }
      for (int i = 0; i < count; i++) {
        made.add(encode(names[i], times[i], found[i]));
      }
    }
    return made;
  }

  private void decode(byte[] value) throws IOException {
    decoder =
        DecoderFactory.get()
            .binaryDecoder(value, FRAME_BYTES, value.length - FRAME_BYTES, decoder);
    event = reader.read(event, decoder);
  }

  private void put(int row) {
    int place = row * features.length;
    for (int field : features) {
      Object value = event.get(field);
      double number;
      if (value instanceof Number known) {
        number = known.doubleValue();
      } else if (value instanceof Boolean yes) {
        number = yes ? 1 : 0;
      } else {
        number = Double.NaN;
      }
      if (wide) {
        doubles.put(place++, number);
      } else {
        floats.put(place++, (float) number);
      }
    }
  }

  /** A view of the first rows of the buffer, which lies outside of the heap: nothing is copied. */
  private OnnxTensor tensor(int count) throws OrtException {
    long[] shape = {count, features.length};
    int end = count * features.length;
    return wide
        ? OnnxTensor.createTensor(shared.environment, doubles.duplicate().limit(end).slice(), shape)
        : OnnxTensor.createTensor(shared.environment, floats.duplicate().limit(end).slice(), shape);
  }

  private double[] scores(OnnxTensor input, int count) throws OrtException {
    Map<String, ? extends OnnxTensorLike> feed = Map.of(job.tensor(), input);
    try (OrtSession.Result result = shared.session.run(feed, outputs)) {
      OnnxValue value = result.get(0);
      OnnxTensor tensor = (OnnxTensor) value;
      double[] found = new double[count];
      int width;
      if (tensor.getInfo().type == ai.onnxruntime.OnnxJavaType.DOUBLE) {
        DoubleBuffer buffer = tensor.getDoubleBuffer();
        width = buffer.remaining() / count;
        for (int i = 0; i < count; i++) {
          found[i] = buffer.get(i * width + job.positive());
        }
      } else {
        FloatBuffer buffer = tensor.getFloatBuffer();
        width = buffer.remaining() / count;
        for (int i = 0; i < count; i++) {
          found[i] = buffer.get(i * width + job.positive());
        }
      }
      return found;
    }
  }

  /** As encode() in ops/bench/peers/model.py. */
  private byte[] encode(String name, long time, double score) {
    byte[] text = name.getBytes(StandardCharsets.UTF_8);
    answer.clear();
    answer.put((byte) 0).putInt(0); // a schema id of nobody
    putLong(text.length);
    answer.put(text);
    putLong(time);
    answer.putDouble(score);
    answer.put((byte) 2).put((byte) (score >= 0.5 ? '1' : '0'));
    answer.put((byte) 2).put((byte) '1');
    byte[] made = new byte[answer.position()];
    answer.flip();
    answer.get(made);
    return made;
  }

  private void putLong(long value) {
    long zigzag = (value << 1) ^ (value >> 63);
    while ((zigzag & ~0x7FL) != 0) {
      answer.put((byte) (zigzag & 0x7F | 0x80));
      zigzag >>>= 7;
    }
    answer.put((byte) zigzag);
  }

  @Override
  public void close() {
    single.close();
  }
}
