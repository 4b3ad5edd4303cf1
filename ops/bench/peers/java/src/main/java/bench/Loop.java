package bench;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** A plain Java consumer loop that scores what one poll gives as one batch. */
public final class Loop {
  public static void main(String[] args) throws Exception {
    Job job = Job.read(args[0]);
    Model model = new Model(job, new Model.Shared(job));
    Properties reading = new Properties();
    reading.put("bootstrap.servers", job.bootstrap());
    reading.put("group.id", job.group());
    reading.put("auto.offset.reset", "earliest");
    reading.put("enable.auto.commit", "false");
    reading.put("isolation.level", "read_committed");
    reading.put("max.poll.records", "2000");
    Properties writing = new Properties();
    writing.put("bootstrap.servers", job.bootstrap());
    writing.put("linger.ms", "5");
    writing.put("batch.size", "131072");
    writing.put("compression.type", "lz4");
    if (job.exactlyOnce()) {
      writing.put("transactional.id", job.group());
    }
    ByteArrayDeserializer bytes = new ByteArrayDeserializer();
    KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(reading, bytes, bytes);
    KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(writing, new ByteArraySerializer(), new ByteArraySerializer());
    consumer.subscribe(List.of(job.events()));
    if (job.exactlyOnce()) {
      producer.initTransactions();
    }
    run(job, model, consumer, producer);
  }

  private static void run(
      Job job,
      Model model,
      KafkaConsumer<byte[], byte[]> consumer,
      KafkaProducer<byte[], byte[]> producer)
      throws Exception {
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    long due = System.nanoTime() + job.commit_ms() * 1_000_000L;
    while (true) {
      ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(10));
      if (!records.isEmpty()) {
        if (offsets.isEmpty() && job.exactlyOnce()) {
          producer.beginTransaction();
        }
        List<byte[]> values = new ArrayList<>(records.count());
        records.forEach(record -> values.add(record.value()));
        int i = 0;
        List<byte[]> answers = model.answers(values);
        for (ConsumerRecord<byte[], byte[]> record : records) {
          producer.send(
              new ProducerRecord<>(
                  job.output(), record.partition(), record.key(), answers.get(i++)));
        }
        offsets.putAll(records.nextOffsets());
      }
      if (!offsets.isEmpty() && System.nanoTime() >= due) {
        if (job.exactlyOnce()) {
          producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
          producer.commitTransaction();
        } else {
          producer.flush();
          consumer.commitSync(offsets);
        }
        offsets.clear();
        due = System.nanoTime() + job.commit_ms() * 1_000_000L;
      }
    }
  }
}
