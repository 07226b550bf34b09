// One side of an interoperability test, played by an official package.
//
//   node peer.js ROLE CONFIG
//
// ROLE is ws-listener, ws-sender, https-listener or https-sender; CONFIG is JSON. What happens is said in JSON, one line
// each; what to do next comes the same way on standard input. The packages are found through NODE_PATH, unmodified.
'use strict';

const [role, text] = process.argv.slice(2);
const config = JSON.parse(text);
const say = (event, more) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n');
const digest = (bytes) => require('crypto').createHash('sha256').update(bytes).digest('hex');

// The packages' helpers put port 443 into every address; applications with another port write addresses by themselves.
const address = (action) =>
  `wss://${config.relay}/$hc/${config.path}${config.path.includes('?') ? '&' : '?'}sb-hc-action=${action}`;

const commands = {};

// The packages renew their tokens once an hour, by a timer. Here time passes when the test says so.
const HOUR = 3600;
const hourly = new Map();
let passed = 0;
const { setInterval: setTimer, clearInterval: clearTimer } = global;
global.setInterval = (work, delay, ...more) => {
  const timer = setTimer(work, delay, ...more);
  if (delay === HOUR * 1000) hourly.set(timer, work);
  return timer;
};
global.clearInterval = (timer) => {
  hourly.delete(timer);
  clearTimer(timer);
};
commands.pass = (command) => {
  passed += command.seconds;
  if (command.renew) for (const work of hourly.values()) work();
};

// A token as the package makes it, by the time that has passed.
const tokens = (create, uri) => () => {
  say('token');
  return create(uri, config.rule, config.key, passed ? passed + (config.seconds || HOUR) : config.seconds);
};

let waiting = '';
process.stdin.on('data', (data) => {
  const lines = (waiting + data).split('\n');
  waiting = lines.pop();
  for (const line of lines) {
    const command = JSON.parse(line);
    if (command.do === 'exit') process.exit(0);
    commands[command.do](command);
  }
});
process.stdin.on('end', () => process.exit(0));

const payload = (command) => (command.binary === undefined ? command.text : Buffer.alloc(command.binary, command.fill || 'x'));

function watch(socket) {
  socket.on('message', (data, flags) => {
    const binary = flags && flags.binary;
    say('message', { binary: !!binary, length: Buffer.byteLength(data), digest: digest(data), text: binary ? null : data.slice(0, 100) });
  });
  socket.on('close', (code, reason) => say('closed', { code, reason: String(reason || '') }));
  socket.on('error', (error) => say('error', { text: String(error.message || error) }));
  commands.send = (command) => socket.send(payload(command), { binary: command.binary !== undefined });
  commands.ping = () => socket.ping();
  commands.close = (command) => socket.close(command.code, command.reason);
  socket.on('pong', () => say('pong'));
}

const roles = {
  'ws-listener'() {
    const ws = require('hyco-ws');
    const uri = address('listen');
    const token = tokens(ws.createRelayToken, uri);
    const server = ws.createRelayedServer({ server: uri, token }, (socket) => {
      say('connection', { url: socket.url.replace(/sb-hc-.*/, ''), protocol: socket.options ? socket.options.protocol : null });
      if (config.echo) {
        socket.on('message', (data, flags) => socket.send(data, { binary: !!flags.binary }));
        socket.on('error', () => {});
      } else {
        watch(socket);
      }
      socket.on('open', () => say('open'));
    });
    server.on('listening', () => say('listening'));
    server.on('error', (error) => say('error', { text: String(error.message || error) }));
    commands.renew = (command) => {
      const fresh = ws.createRelayToken(uri, config.rule, config.key, command.seconds);
      server.controlChannel.send(JSON.stringify({ renewToken: { token: fresh } }));
    };
    commands.stop = () => server.close();
    server.on('close', () => say('stopped'));
  },

  'ws-sender'() {
    const ws = require('hyco-ws');
    const uri = address('connect');
    const headers = { ...config.headers };
    if (config.rule) headers.ServiceBusAuthorization = ws.createRelayToken(uri, config.rule, config.key, config.seconds);
    const socket = new ws(config.inQuery ? ws.appendRelayToken(uri, config.rule, config.key) : uri, config.protocols || null, {
      headers: config.inQuery ? config.headers : headers,
    });
    watch(socket);
    socket.on('open', () => say('open', { protocol: socket.protocol || null }));
    socket.on('unexpected-response', (request, response) => {
      say('refused', { status: response.statusCode, reason: response.statusMessage });
      request.abort();
    });
  },

  'https-listener'() {
    const https = require('hyco-https');
    const uri = address('listen');
    const token = tokens(https.createRelayToken, uri);
    const server = https.createRelayedServer({ server: uri, token }, (request, response) => {
      const pieces = [];
      request.on('data', (piece) => pieces.push(Buffer.from(piece)));
      request.on('end', () => {
        const body = Buffer.concat(pieces);
        say('request', { method: request.method, url: request.url, headers: request.headers, length: body.length, digest: digest(body) });
        const want = new URL(request.url, 'https://relay').searchParams;
        response.statusCode = Number(want.get('status') || 200);
        if (want.get('reason')) response.statusMessage = want.get('reason');
        response.setHeader('X-From', 'hyco-https');
        response.setHeader('X-Number', 42);
        const large = Number(want.get('large') || 0);
        if (want.has('slow')) {
          response.write('first');
          setTimeout(() => response.end('second'), Number(want.get('slow')));
        } else if (large) {
          response.end(Buffer.alloc(large, 'y'));
        } else if (body.length) {
          response.end(body);
        } else {
          // With an empty buffer the package never sends the end.
          response.end();
        }
      });
    });
    server.on('listening', () => say('listening'));
    server.on('error', (error) => say('error', { text: String(error.message || error) }));
    commands.renew = (command) => {
      const fresh = https.createRelayToken(uri, config.rule, config.key, command.seconds);
      server.controlChannel.send(JSON.stringify({ renewToken: { token: fresh } }));
    };
    server.listen();
  },

  'https-sender'() {
    const https = require('hyco-https');
    const [hostname, port] = config.relay.split(':');
    commands.request = (command) => {
      const uri = `https://${config.relay}/${config.path}`;
      const headers = { ...command.headers };
      if (config.rule) headers.ServiceBusAuthorization = https.createRelayToken(uri, config.rule, config.key, config.seconds);
      const started = https.request({ hostname, port, method: command.method || 'GET', path: `/${config.path}${command.target || ''}`, headers }, (response) => {
        const pieces = [];
        response.on('data', (piece) => pieces.push(piece));
        response.on('aborted', () => say('aborted'));
        response.on('end', () => {
          const body = Buffer.concat(pieces);
          say('response', { id: command.id, status: response.statusCode, reason: response.statusMessage, headers: response.headers, length: body.length, digest: digest(body), text: body.toString('utf8', 0, 100) });
        });
      });
      started.on('error', (error) => say('error', { text: String(error.message || error) }));
      if (command.chunked) started.setHeader('Transfer-Encoding', 'chunked');
      started.end(command.binary === undefined && command.text === undefined ? undefined : payload(command));
    };
    say('ready');
  },
};

roles[role]();
