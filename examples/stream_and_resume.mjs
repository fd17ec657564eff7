/**
 * Streams an answer over WebSocket and goes on where it was when the network is cut.
 *
 *     node examples/stream_and_resume.mjs ws://127.0.0.1:8100/v1/responses "Tell a story" [model]
 *
 * The text goes to stdout, what happens to the connection to stderr. WARMPATH_KEY is the API key,
 * where the gateway asks for one. Node 22 and later have a WebSocket of their own; Node 20 needs
 * `npm install ws`.
 */
const RETRY_MS_MAX = 5000
const LAST = new Set(['response.completed', 'response.incomplete'])
/** Connections in a row that were never opened: the gateway is away, or takes no such key. */
const REFUSED_MAX = 8

const WebSocket = globalThis.WebSocket ?? (await import('ws')).WebSocket
const [url = 'ws://127.0.0.1:8100/v1/responses', input = 'Say hello', model = 'sim'] =
  process.argv.slice(2)
const key = process.env.WARMPATH_KEY
// Works in browsers too, where a socket can have no headers.
const protocols = key ? ['realtime', `openai-insecure-api-key.${key}`] : []

let responseId = null
let lastNumber = -1
let refused = 0

/** What the next connection has to ask: for the answer, or for what is missing of it. */
function question() {
  if (responseId === null) {
    return { type: 'response.create', model, input, 'warmpath:resume': true }
  }
  return { type: 'warmpath:resume', response_id: responseId, starting_after: lastNumber }
}

/** One connection: true when the answer is complete, false when the connection was lost. */
function connect() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols)
    refused++
    socket.onopen = () => {
      refused = 0
      socket.send(JSON.stringify(question()))
    }
    socket.onerror = () => {}
    socket.onclose = () => {
      if (refused < REFUSED_MAX) resolve(false)
      else reject(new Error(`cannot connect to ${url}: is it there, and is the key right?`))
    }
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data)
      const error = event.error ?? event.response?.error
      if (error) return reject(new Error(error.message))
      responseId ??= event.response?.id ?? null
      lastNumber = event.sequence_number
      if (event.type === 'response.output_text.delta') process.stdout.write(event.delta)
      if (!LAST.has(event.type)) return
      resolve(true)
      socket.close()
    }
  })
}

let waitMs = 100
while (!(await connect())) {
  process.stderr.write(`connection lost after event ${lastNumber}\n`)
  await new Promise(resolve => setTimeout(resolve, waitMs))
  waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)
}
process.stdout.write('\n')
