package producer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serializer;

/** Confluent's wire format: a zero byte, the schema's id as four bytes, the Avro body. */
final class ConfluentAvro implements Serializer<GenericRecord> {
  private final GenericDatumWriter<GenericRecord> writer;
  private final byte[] frame;
  private BinaryEncoder encoder;

  ConfluentAvro(Schema schema, int schemaId) {
    writer = new GenericDatumWriter<>(schema);
    frame = ByteBuffer.allocate(5).put((byte) 0).putInt(schemaId).array();
  }

  /** The id under which the registry has the schema; it registers it where it has not. */
  static int register(String registry, String topic, Schema schema)
      throws IOException, InterruptedException {
    ObjectMapper json = new ObjectMapper();
    String body = json.writeValueAsString(Map.of("schema", schema.toString()));
    URI subject = URI.create(registry + "/subjects/" + topic + "-value/versions?normalize=true");
    HttpRequest request =
        HttpRequest.newBuilder(subject)
            .header("Content-Type", "application/vnd.schemaregistry.v1+json")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
    HttpResponse<String> answer;
    try {
      answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    } catch (IOException why) {
      throw new IOException("the registry " + registry + " does not answer: " + why, why);
    }
    JsonNode id = answer.statusCode() == 200 ? json.readTree(answer.body()).get("id") : null;
    if (id == null) {
      throw new IOException("the registry answered " + answer.statusCode() + ": " + answer.body());
    }
    return id.intValue();
  }

  @Override
  public byte[] serialize(String topic, GenericRecord event) {
    ByteArrayOutputStream out = new ByteArrayOutputStream(256);
    out.writeBytes(frame);
    encoder = EncoderFactory.get().binaryEncoder(out, encoder);
    try {
      writer.write(event, encoder);
      encoder.flush();
    } catch (IOException | RuntimeException why) {
      throw new SerializationException("this is no event of the schema: " + event, why);
    }
    return out.toByteArray();
  }
}
