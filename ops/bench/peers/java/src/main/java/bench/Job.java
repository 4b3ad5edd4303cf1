package bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.util.List;

/** What a contender is told; the same JSON as ops/bench/job.py. */
public record Job(
    String bootstrap,
    String events,
    String output,
    String group,
    String schema,
    String model,
    String tensor,
    String scores,
    int positive,
    String width,
    List<String> features,
    String guarantee,
    int commit_ms,
    String folder,
    boolean batch,
    int threads) {

  static Job read(String path) throws IOException {
    return new ObjectMapper().readValue(new File(path), Job.class);
  }

  boolean exactlyOnce() {
    return guarantee.equals("exactly_once");
  }
}
