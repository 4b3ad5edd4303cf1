package bench;

import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;

/** Kafka Streams: a processor for each partition, one event at a time. */
public final class Streams {
  private static final class Score implements FixedKeyProcessor<byte[], byte[], byte[]> {
    private final Model model;
    private FixedKeyProcessorContext<byte[], byte[]> context;

    Score(Job job, Model.Shared shared) {
      try {
        model = new Model(job, shared);
      } catch (Exception why) {
        throw new IllegalStateException(why);
      }
    }

    @Override
    public void init(FixedKeyProcessorContext<byte[], byte[]> given) {
      context = given;
    }

    @Override
    public void process(FixedKeyRecord<byte[], byte[]> record) {
      try {
        context.forward(record.withValue(model.answer(record.value())));
      } catch (Exception why) {
        throw new IllegalStateException(why);
      }
    }

    @Override
    public void close() {
      model.close();
    }
  }

  public static void main(String[] args) throws Exception {
    Job job = Job.read(args[0]);
    Model.Shared shared = new Model.Shared(job);
    StreamsBuilder builder = new StreamsBuilder();
    builder
        .stream(job.events(), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .processValues(() -> new Score(job, shared))
        .to(job.output(), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));

    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, job.group());
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.bootstrap());
    settings.put(StreamsConfig.STATE_DIR_CONFIG, job.folder() + "/state");
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, job.threads());
    settings.put(
        StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
        job.exactlyOnce() ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
    if (job.exactlyOnce()) {
      settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, job.commit_ms()); // also its default
    }
    // Its own default for a producer is 100 ms, which p50 would wait for.
    settings.put(StreamsConfig.producerPrefix("linger.ms"), "5");
    settings.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }
}
