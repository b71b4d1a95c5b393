// Runs every sample of an unpacked test pack of edgeq with onnxruntime-web under Node.
//
//     node runner.mjs PACK_FOLDER RESULTS_FOLDER [FOLDER_WITH_NODE_MODULES] [SECONDS]
//
// Writes RESULTS_FOLDER/SSS/O.npy for every output and RESULTS_FOLDER/result.json; whoever called
// compares. Version 1 of the format.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

// numpy's descr -> onnxruntime's type, and the array that holds it.
const TYPES = {
  '<f4': ['float32', Float32Array],
  '<f8': ['float64', Float64Array],
  '<f2': ['float16', Uint16Array],
  '<i8': ['int64', BigInt64Array],
  '<u8': ['uint64', BigUint64Array],
  '<i4': ['int32', Int32Array],
  '<u4': ['uint32', Uint32Array],
  '<i2': ['int16', Int16Array],
  '<u2': ['uint16', Uint16Array],
  '|i1': ['int8', Int8Array],
  '|u1': ['uint8', Uint8Array],
  '|b1': ['bool', Uint8Array],
};

const KERNEL = '_kernel_time';

function parseNpy(bytes) {
  const length = bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', 10, 10 + length);
  const descr = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1];
  if (!(descr in TYPES)) throw new Error(`onnxruntime-web takes no numbers of type ${descr}`);
  const [type, Numbers] = TYPES[descr];
  // A copy: typed arrays must begin at a multiple of their element's size.
  const numbers = new Uint8Array(bytes.subarray(10 + length));
  return {
    type,
    data: new Numbers(numbers.buffer, 0, numbers.byteLength / Numbers.BYTES_PER_ELEMENT),
    dims: shape.split(',').map((each) => each.trim()).filter((each) => each).map(Number),
  };
}

function formatNpy(tensor) {
  const [descr] = Object.entries(TYPES).find(([, [type]]) => type === tensor.type);
  const dims = tensor.dims.map((each) => `${each},`).join(' ');
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 + 53, ' ') + '\n';
  const start = Buffer.alloc(10);
  start.write('\x93NUMPY\x01\x00', 'latin1');
  start.writeUInt16LE(header.length, 8);
  const { buffer, byteOffset, byteLength } = tensor.data;
  return Buffer.concat([start, Buffer.from(header, 'latin1'), Buffer.from(buffer, byteOffset, byteLength)]);
}

// What onnxruntime-web prints while `act` runs. A profile goes to the standard output only: WebAssembly
// has no files (onnxruntime/core/common/profiler.cc).
function printed(fs, act) {
  const lines = [];
  const write = fs.writeSync;
  fs.writeSync = (file, text, ...rest) => (file === 1 ? lines.push(String(text)) : write(file, text, ...rest));
  try {
    act();
  } finally {
    fs.writeSync = write;
  }
  return lines.join('');
}

// Microseconds of one run of each node, the slowest first; null where the profile cannot be read.
function nodeTimes(text, runs) {
  let events;
  try {
    events = JSON.parse(text);
  } catch {
    return null;
  }
  const spent = new Map();
  for (const { cat, name, dur, args } of events) {
    if (cat !== 'Node' || !name.endsWith(KERNEL)) continue;
    const node = [name.slice(0, -KERNEL.length), args.op_name, args.provider];
    const key = JSON.stringify(node);
    spent.set(key, { node, total: (spent.get(key)?.total ?? 0) + dur });
  }
  return [...spent.values()]
    .sort((one, other) => other.total - one.total)
    .map(({ node: [name, op_type, provider], total }) => ({
      name, op_type, provider, microseconds: total / runs,
    }));
}

async function main([folder, results, modules = '.', seconds = '0']) {
  const require = createRequire(join(resolve(modules), 'here.js'));
  const entry = require.resolve('onnxruntime-web').replace(/\.js$/, '.mjs');
  const ort = await import(pathToFileURL(entry).href);
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'fatal';
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json')));
  if (manifest.version > 1) throw new Error(`the pack has format version ${manifest.version}`);
  const read = (name) => {
    const bytes = readFileSync(join(folder, name));
    const digest = createHash('sha256').update(bytes).digest('hex');
    if (digest !== manifest.files[name].sha256) throw new Error(`${name} is damaged`);
    return bytes;
  };
  const [model, ...data] = manifest.model.files;
  const session = await ort.InferenceSession.create(new Uint8Array(read(model)), {
    executionProviders: ['wasm'],
    externalData: data.map((name) => ({ path: name, data: new Uint8Array(read(name)) })),
    logSeverityLevel: 4,
    enableProfiling: true,
  });
  const times = [];
  const run = async (sample) => {
    const feed = {};
    manifest.inputs.forEach(({ name }, place) => {
      const { type, data: numbers, dims } = parseNpy(read(sample.inputs[place]));
      feed[name] = new ort.Tensor(type, numbers, dims);
    });
    const start = performance.now();
    const answer = await session.run(feed);
    times.push((performance.now() - start) / 1e3);
    return answer;
  };
  for (const [number, sample] of manifest.samples.entries()) {
    const answer = await run(sample);
    const target = join(results, String(number).padStart(3, '0'));
    mkdirSync(target, { recursive: true });
    manifest.outputs.forEach(({ name }, place) => {
      if (!(name in answer)) throw new Error(`the model gave no output ${name}`);
      writeFileSync(join(target, `${place}.npy`), formatNpy(answer[name]));
    });
  }
  const profile = printed(require('node:fs'), () => session.endProfiling());
  const nodes = nodeTimes(profile, manifest.samples.length);
  const end = performance.now() + 1e3 * Number(seconds);
  for (let turn = 0; turn < 1000 && performance.now() < end; turn += 1) {
    await run(manifest.samples[turn % manifest.samples.length]);
  }
  const document = {
    runtime: { name: 'onnxruntime-web', version: ort.env.versions.web ?? ort.env.versions.common },
    // onnxruntime-web is built with 128-bit SIMD only.
    cpu: { machine: 'wasm32', system: `Node ${process.version}`, features: ['SIMD128'] },
    seconds: times,
    peak_memory_mb: process.resourceUsage().maxRSS / 1e3,
    nodes,
  };
  writeFileSync(join(results, 'result.json'), JSON.stringify(document));
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`error: ${String(error?.message ?? error).replace(/\s+/g, ' ')}\n`);
  process.exit(2);
});
