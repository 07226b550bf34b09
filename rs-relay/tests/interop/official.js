// Runs a test file of an official package as it stands, with as much of a test runner as those files need.
//
//   node official.js FILE
//
// The files know one port, 443, and read where the relay is from SB_HC_…; connections to that port go to RELAY_PORT. Each
// test is one line of JSON; the exit code says whether all passed.
'use strict';

const tls = require('tls');
const connect = tls.connect;
tls.connect = function (...given) {
  const options = typeof given[0] === 'object' ? given[0] : given[2];
  if (options && Number(options.port) === 443) options.port = Number(process.env.RELAY_PORT);
  return connect.apply(this, given);
};

const waiting = [];
const prefix = [];
let limit = 30000;
let fail = (error) => { throw error; };

const check = (holds, text) => { if (!holds) throw new Error(text); };
const show = (value) => String(JSON.stringify(value)).slice(0, 200);
global.expect = (found) => ({
  toBe: (wanted) => check(Object.is(found, wanted), `${show(found)} is not ${show(wanted)}`),
  toBeDefined: () => check(found !== undefined, 'not defined'),
  toBeUndefined: () => check(found === undefined, `${show(found)} should not be`),
});
global.describe = (name, body) => { prefix.push(name); body(); prefix.pop(); };
global.test = (name, body) => waiting.push({ name: [...prefix, name].join(' / '), body });
global.jest = { setTimeout() {}, clearAllTimers() {} };
process.on('uncaughtException', (error) => fail(error));
process.on('unhandledRejection', (error) => fail(error));

require(require('path').resolve(process.argv[2]));

(async () => {
  let failed = 0;
  for (const { name, body } of waiting) {
    const result = await new Promise((done) => {
      const timer = setTimeout(() => done('it took too long'), limit);
      fail = (error) => { clearTimeout(timer); done(String(error && error.message || error)); };
      try {
        body(() => { clearTimeout(timer); done(null); });
      } catch (error) {
        fail(error);
      }
    });
    if (result) failed += 1;
    console.log(JSON.stringify({ test: name, failed: result }));
  }
  console.log(JSON.stringify({ tests: waiting.length, failed }));
  process.exit(failed ? 1 : 0);
})();
