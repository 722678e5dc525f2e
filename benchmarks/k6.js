// A load from k6: each of STREAMS users asks for one text after another, of TOKENS tokens.
import { Client, Stream } from "k6/net/grpc";
import exec from "k6/execution";
import { Counter, Trend } from "k6/metrics";

const characters = new Counter("characters");
const first = new Trend("first");
const client = new Client();
client.load([__ENV.PROTO], "charloom/v1/charloom.proto");

export const options = {
  scenarios: {
    users: {
      executor: "constant-vus",
      vus: Number(__ENV.STREAMS),
      duration: `${__ENV.SECONDS}s`,
      gracefulStop: "0s",
    },
  },
  summaryTrendStats: ["med", "p(99)"],
};

export default function () {
  if (exec.vu.iterationInInstance === 0) {
    client.connect(__ENV.ADDRESS, { plaintext: true });
  }
  const begun = Date.now();
  let heard = false;
  const stream = new Stream(client, "charloom.v1.CharloomService/Generate");
  stream.on("data", (response) => {
    if (!response.text) return;
    if (!heard) first.add(Date.now() - begun);
    heard = true;
    characters.add(response.text.length);
  });
  stream.on("error", (error) => {
    // The end of the run ends a call as cancelled, or now and then as out of time.
    if (![1, 4].includes(error.code)) exec.test.abort(error.message);
  });
  stream.write({ prompt: __ENV.PROMPT, max_tokens: Number(__ENV.TOKENS) });
  stream.end();
}

export function handleSummary(data) {
  const { characters, first } = data.metrics;
  return { stdout: JSON.stringify({ rate: characters.values.rate, first: first.values }) };
}
