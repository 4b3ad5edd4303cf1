-- What answered (schemas/prediction.v2.avsc); rows that are older were the stream's own model's.
ALTER TABLE {database}.predictions
    ADD COLUMN IF NOT EXISTS answered_by LowCardinality(String) DEFAULT 'full' COMMENT 'full, cheaper, cached or abstained' AFTER event_schema_id
