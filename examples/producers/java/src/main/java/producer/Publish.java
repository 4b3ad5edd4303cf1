package producer;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publish the events of a JSON-lines file to a stream.
 *
 * <p>java -cp ... producer.Publish --bootstrap HOST:PORT --registry URL --topic loans.events
 * --schema event.v1.avsc --key applicant events.jsonl
 */
public final class Publish {
  private final AtomicLong delivered = new AtomicLong();
  private final Map<String, Long> failures = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    Map<String, String> given = options(args);
    Publish published = new Publish();
    try {
      published.run(given);
    } catch (IOException | RuntimeException why) { // what went out before it was waited for
      published.failures.merge(String.valueOf(why.getMessage()), 1L, Long::sum);
    }
    System.out.println("published " + published.delivered + " events");
    published.failures.forEach(
        (reason, count) -> System.err.println(count + " events were not delivered: " + reason));
    System.exit(published.failures.isEmpty() ? 0 : 1);
  }

  private void run(Map<String, String> given) throws Exception {
    Schema schema = new Schema.Parser().parse(Path.of(given.get("schema")).toFile());
    if (schema.getField(given.get("key")) == null) {
      System.err.println("the schema has no field " + given.get("key") + " for the key");
      System.exit(2);
    }
    String topic = given.get("topic");
    int id = ConfluentAvro.register(given.get("registry"), topic, schema);
    Properties settings = new Properties();
    settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("bootstrap"));
    settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true); // a retry doubles nothing
    settings.put(ProducerConfig.ACKS_CONFIG, "all");
    settings.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
    settings.put(ProducerConfig.LINGER_MS_CONFIG, 5);
    try (KafkaProducer<String, GenericRecord> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new ConfluentAvro(schema, id));
        BufferedReader lines = Files.newBufferedReader(Path.of(given.get("events")))) {
      int number = 0;
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        GenericRecord event = read(schema, line, ++number);
        String key = String.valueOf(event.get(given.get("key")));
        producer.send(
            new ProducerRecord<>(topic, key, event),
            (where, why) -> {
              if (why == null) {
                delivered.incrementAndGet();
              } else {
                failures.merge(String.valueOf(why.getMessage()), 1L, Long::sum);
              }
            });
      }
    } // close() waits until every event is acknowledged or has failed
  }

  private static GenericRecord read(Schema schema, String line, int number) throws IOException {
    try {
      return new GenericDatumReader<GenericRecord>(schema)
          .read(null, DecoderFactory.get().jsonDecoder(schema, line));
    } catch (IOException | RuntimeException why) {
      throw new IOException("line " + number + ": " + why.getMessage(), why);
    }
  }

  private static Map<String, String> options(String[] args) {
    Map<String, String> given = new HashMap<>();
    for (int at = 0; at < args.length; at++) {
      if (args[at].startsWith("--") && at + 1 < args.length) {
        given.put(args[at].substring(2), args[++at]);
      } else {
        given.put("events", args[at]);
      }
    }
    for (String name : new String[] {"bootstrap", "registry", "topic", "schema", "key", "events"}) {
      if (!given.containsKey(name)) {
        System.err.println("Publish --bootstrap --registry --topic --schema --key FILE: no " + name);
        System.exit(2);
      }
    }
    return given;
  }
}
