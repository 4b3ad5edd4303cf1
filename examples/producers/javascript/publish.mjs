// Publish the events of a JSON-lines file to a stream: kafkajs and avsc.
//
// node publish.mjs --bootstrap HOST:PORT --registry URL --topic loans.events \
//     --schema event.v1.avsc --key applicant events.jsonl

import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import avro from "avsc";
import { CompressionTypes, Kafka, logLevel } from "kafkajs";

const BATCH_EVENTS = 500;

const text = { type: "string" };
const { values: given, positionals } = parseArgs({
  options: { bootstrap: text, registry: text, topic: text, schema: text, key: text },
  allowPositionals: true,
});
for (const name of ["bootstrap", "registry", "topic", "schema", "key"]) {
  if (given[name] === undefined || positionals.length !== 1) {
    console.error(`publish.mjs --bootstrap --registry --topic --schema --key FILE: no ${name}`);
    process.exit(2);
  }
}

/** The id under which the registry has the schema; it registers it where it has not. */
async function register(schema) {
  const versions = `${given.registry}/subjects/${given.topic}-value/versions`;
  const answer = await fetch(`${versions}?normalize=true`, {
    method: "POST",
    headers: { "Content-Type": "application/vnd.schemaregistry.v1+json" },
    body: JSON.stringify({ schema }),
  });
  if (!answer.ok) {
    throw new Error(`the registry answered ${answer.status}: ${await answer.text()}`);
  }
  return (await answer.json()).id;
}

/** Confluent's wire format: a zero byte, the schema's id as four bytes, the Avro body. */
function framed(schemaId, body) {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(schemaId, 1);
  return Buffer.concat([head, body]);
}

/** Nothing was published: one line that says why. */
function stop(code, why) {
  console.error(`nothing was published: ${why}`);
  process.exit(code);
}

const schema = readFileSync(given.schema, "utf8");
const type = avro.Type.forSchema(JSON.parse(schema));
if (type.fields.every((field) => field.name !== given.key)) {
  stop(2, `the schema has no field ${given.key} for the key`);
}
const schemaId = await register(schema).catch((why) =>
  stop(1, `the registry ${given.registry}: ${why.cause?.message ?? why.message}`),
);

const kafka = new Kafka({
  clientId: "producer-example",
  brokers: given.bootstrap.split(","),
  logLevel: logLevel.ERROR,
});
// Idempotent: acknowledged by all replicas, one request in flight, a retry doubles nothing.
// The default partitioner hashes keys by murmur2, as Kafka's Java clients do.
const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
await producer.connect();

let published = 0;
let line = 0;
let failure;
let batch = [];

/** The record of one line; throws, with the line's number, what makes it none. */
function record(text) {
  try {
    const event = JSON.parse(text);
    return { key: String(event[given.key]), value: framed(schemaId, type.toBuffer(event)) };
  } catch (why) {
    throw new Error(`line ${line}: ${why.message}`);
  }
}

/** Resolves when the broker has acknowledged the batch; what it refuses is thrown. */
async function send() {
  const messages = batch;
  batch = [];
  if (messages.length > 0) {
    await producer.send({ topic: given.topic, messages, compression: CompressionTypes.GZIP });
    published += messages.length;
  }
}

try {
  for await (const text of createInterface({ input: createReadStream(positionals[0]) })) {
    line += 1;
    batch.push(record(text));
    if (batch.length === BATCH_EVENTS) {
      await send();
    }
  }
} catch (why) {
  failure = why;
}
try {
  await send(); // also what stood before a line that is no event
} catch (why) {
  failure = why;
} finally {
  await producer.disconnect();
}
console.log(`published ${published} events`);
if (failure !== undefined) {
  console.error(`publishing stopped: ${failure.message}`);
  process.exitCode = 1;
}
