-- What the columns of the views are. A migration that makes a view anew says it again.
ALTER TABLE {database}.predictions_by_day
    COMMENT COLUMN IF EXISTS day 'Of publication',
    COMMENT COLUMN IF EXISTS model 'Name of the bundle that answered',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS answered_by 'full, cheaper, cached or abstained',
    COMMENT COLUMN IF EXISTS in_budget 'Whether the latency budget was kept',
    COMMENT COLUMN IF EXISTS bin 'log2 of the microseconds from published to scored, in sixteenths',
    COMMENT COLUMN IF EXISTS answers 'Predictions, one for each event';

ALTER TABLE {database}.labelled_by_day
    COMMENT COLUMN IF EXISTS day 'Of the event, by its own clock',
    COMMENT COLUMN IF EXISTS model 'Name of the bundle that predicted',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS status 'labelled, corrected or never_labelled',
    COMMENT COLUMN IF EXISTS label 'The true label',
    COMMENT COLUMN IF EXISTS predicted 'The predicted label',
    COMMENT COLUMN IF EXISTS is_binary 'Whether the model has two labels',
    COMMENT COLUMN IF EXISTS is_positive 'Whether the score is the predicted label''s probability',
    COMMENT COLUMN IF EXISTS is_answered 'Whether there is a score',
    COMMENT COLUMN IF EXISTS bin 'Twentieth of confidence, from 0',
    COMMENT COLUMN IF EXISTS answers 'Predictions, the newest version of each',
    COMMENT COLUMN IF EXISTS sum_confidence 'Of their confidences',
    COMMENT COLUMN IF EXISTS sum_brier 'Of their squared errors of probability; two labels only',
    COMMENT COLUMN IF EXISTS sum_log_loss 'Of their losses in nats; two labels only',
    COMMENT COLUMN IF EXISTS sum_absolute 'Of their absolute errors; regression',
    COMMENT COLUMN IF EXISTS sum_squared 'Of their squared errors; regression';

ALTER TABLE {database}.performance_by_version_and_day
    COMMENT COLUMN IF EXISTS day 'Of the event, by its own clock',
    COMMENT COLUMN IF EXISTS model 'Name of the bundle',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS labels 'Predictions whose outcome is known',
    COMMENT COLUMN IF EXISTS never_labelled 'Those whose outcome never came',
    COMMENT COLUMN IF EXISTS abstained 'Outcomes of events that were answered by nothing',
    COMMENT COLUMN IF EXISTS accuracy 'Share of right labels',
    COMMENT COLUMN IF EXISTS precision 'Of those predicted positive, the share that was; two labels only',
    COMMENT COLUMN IF EXISTS recall 'Of those that were positive, the share predicted so; two labels only',
    COMMENT COLUMN IF EXISTS brier 'Mean squared error of the probability; 0 is best',
    COMMENT COLUMN IF EXISTS log_loss 'Mean loss in nats; 0 is best',
    COMMENT COLUMN IF EXISTS mean_absolute_error 'Regression',
    COMMENT COLUMN IF EXISTS root_mean_squared_error 'Regression';

ALTER TABLE {database}.calibration
    COMMENT COLUMN IF EXISTS model 'Name of the bundle',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS confidence_from 'Lower end of the twentieth',
    COMMENT COLUMN IF EXISTS confidence_to 'Upper end',
    COMMENT COLUMN IF EXISTS answers_in_bin 'Labelled predictions of such confidence',
    COMMENT COLUMN IF EXISTS mean_confidence 'What the model said',
    COMMENT COLUMN IF EXISTS accuracy 'What came true',
    COMMENT COLUMN IF EXISTS overconfidence 'What was said less what came true';

ALTER TABLE {database}.latency
    COMMENT COLUMN IF EXISTS day 'Of publication',
    COMMENT COLUMN IF EXISTS model 'Name of the bundle',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS answered 'Predictions',
    COMMENT COLUMN IF EXISTS late 'Those beyond the latency budget',
    COMMENT COLUMN IF EXISTS p50_ms 'Half were quicker; milliseconds from published to scored',
    COMMENT COLUMN IF EXISTS p95_ms '95 % were quicker',
    COMMENT COLUMN IF EXISTS p99_ms '99 % were quicker',
    COMMENT COLUMN IF EXISTS p999_ms '99.9 % were quicker';

ALTER TABLE {database}.label_delay
    COMMENT COLUMN IF EXISTS day 'Of the event, by its own clock',
    COMMENT COLUMN IF EXISTS model 'Name of the bundle',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS labels 'Predictions whose outcome came',
    COMMENT COLUMN IF EXISTS never_labelled 'Those whose outcome never came',
    COMMENT COLUMN IF EXISTS p50_s 'Half came sooner; seconds from the score to the first outcome',
    COMMENT COLUMN IF EXISTS p95_s '95 % came sooner',
    COMMENT COLUMN IF EXISTS p99_s '99 % came sooner';

ALTER TABLE {database}.drift_by_feature
    COMMENT COLUMN IF EXISTS day 'Of the event at which the reading stands',
    COMMENT COLUMN IF EXISTS feature 'The event field; empty where it is not about one',
    COMMENT COLUMN IF EXISTS slice 'FIELD=VALUE; empty where it is about all events',
    COMMENT COLUMN IF EXISTS detector 'monitor, inputs, or one of [[watch.detectors]]',
    COMMENT COLUMN IF EXISTS signal 'error, loss, confidence, score or input',
    COMMENT COLUMN IF EXISTS measure 'What the values are: psi, js, ks, nulls and the like',
    COMMENT COLUMN IF EXISTS readings 'How many, each once',
    COMMENT COLUMN IF EXISTS highest 'The largest value',
    COMMENT COLUMN IF EXISTS newest 'The value at the last event',
    COMMENT COLUMN IF EXISTS alarms_above 'The detector''s threshold; null where it alarms nobody',
    COMMENT COLUMN IF EXISTS warnings 'Readings of status warning',
    COMMENT COLUMN IF EXISTS alarms 'Readings of status alarm';

ALTER TABLE {database}.data_quality
    COMMENT COLUMN IF EXISTS day 'Of publication; of refusal in the last three',
    COMMENT COLUMN IF EXISTS published 'Records of the topic, replays among them',
    COMMENT COLUMN IF EXISTS unreadable 'Those that were no event',
    COMMENT COLUMN IF EXISTS answered 'Events with a prediction',
    COMMENT COLUMN IF EXISTS abstained 'Those answered by nothing, under overload',
    COMMENT COLUMN IF EXISTS answered_cheaper 'Those answered by the cheaper model, under overload',
    COMMENT COLUMN IF EXISTS late 'Answers beyond the latency budget',
    COMMENT COLUMN IF EXISTS refused 'Events that became a dead letter',
    COMMENT COLUMN IF EXISTS refused_again 'Dead letters that were redriven and refused once more',
    COMMENT COLUMN IF EXISTS refused_share 'refused of answered and refused';

ALTER TABLE {database}.model_timeline
    COMMENT COLUMN IF EXISTS source_partition 'Of the events',
    COMMENT COLUMN IF EXISTS first_offset 'From it on the release answers',
    COMMENT COLUMN IF EXISTS next_offset 'From it on another one does; null while it goes on',
    COMMENT COLUMN IF EXISTS switched_at 'When',
    COMMENT COLUMN IF EXISTS number 'Of the release',
    COMMENT COLUMN IF EXISTS id 'Of the release',
    COMMENT COLUMN IF EXISTS kind 'release, canary, promote or rollback',
    COMMENT COLUMN IF EXISTS champion_version 'The version that answers',
    COMMENT COLUMN IF EXISTS challenger_version 'The version on trial',
    COMMENT COLUMN IF EXISTS canary_share 'Share of the keys that the challenger answers',
    COMMENT COLUMN IF EXISTS before_version 'The champion until then',
    COMMENT COLUMN IF EXISTS late 'Whether it came later than the release asked for',
    COMMENT COLUMN IF EXISTS reason 'Why it was released',
    COMMENT COLUMN IF EXISTS scorer 'Who switched',
    COMMENT COLUMN IF EXISTS champion_name 'The model that answers',
    COMMENT COLUMN IF EXISTS champion_digest 'sha256 of its ONNX file',
    COMMENT COLUMN IF EXISTS challenger_name 'The model on trial',
    COMMENT COLUMN IF EXISTS challenger_digest 'sha256 of its ONNX file',
    COMMENT COLUMN IF EXISTS shadow_versions 'Models that score everything and answer nothing',
    COMMENT COLUMN IF EXISTS before_digest 'sha256 of its ONNX file';

ALTER TABLE {database}.incidents_now MODIFY COMMENT 'Every incident as it stands now: its newest revision';

ALTER TABLE {database}.decisions_once MODIFY COMMENT 'Every decision once';

ALTER TABLE {database}.model_timeline MODIFY COMMENT 'Which release answered which offsets of each partition'
