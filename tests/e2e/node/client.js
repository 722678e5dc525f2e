// Usage: node client.js HOST:PORT PROTO_DIRECTORY REQUEST_AS_JSON
// Writes the text to standard output as it arrives, and start and finish to standard error.
"use strict";

const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, directory, request] = process.argv.slice(2);

const definition = loader.loadSync("charloom/v1/charloom.proto", {
  includeDirs: [directory],
  keepCase: true, // max_tokens, as the .proto file has it
  longs: String, // a seed has 64 bits, a JavaScript number only 53
  enums: String,
  defaults: true,
});
const { CharloomService } = grpc.loadPackageDefinition(definition).charloom.v1;
const client = new CharloomService(address, grpc.credentials.createInsecure());

const call = client.Generate(JSON.parse(request), { deadline: Date.now() + 30_000 });
call.on("data", ({ start, text, finish }) => {
  if (start) console.error(JSON.stringify({ start }));
  process.stdout.write(text);
  if (finish) console.error(JSON.stringify({ finish }));
});
call.on("error", (error) => {
  console.error(`${grpc.status[error.code]}: ${error.details}`);
  process.exitCode = 1;
});
call.on("close", () => client.close());
