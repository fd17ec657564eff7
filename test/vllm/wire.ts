/** Plain HTTP to an engine or to the gateway, and what a reply of either looks like. */

/** Milliseconds a short answer may take; engines on a busy machine take seconds for /metrics. */
const GET_MS_MAX = 20_000

export interface Reply {
  readonly status: number
  readonly contentType: string
  /** Node that answered, as the gateway names it; empty from an engine. */
  readonly node: string
  readonly text: string
}

export interface SendOptions {
  readonly signal?: AbortSignal
  readonly headers?: Readonly<Record<string, string>>
  /** Called with all that has come so far, after every piece of the body. */
  readonly onText?: (text: string, node: string) => void
}

export function json(reply: Reply): unknown {
  return JSON.parse(reply.text)
}

/** `data:` lines of a stream, `[DONE]` included. */
export function dataOf(text: string): string[] {
  return text
    .split('\n')
    .filter(line => line.startsWith('data: '))
    .map(line => line.slice(6).trimEnd())
}

/** Decoded events of a stream, without `[DONE]`. */
export function eventsOf(text: string): unknown[] {
  return dataOf(text)
    .filter(data => data !== '[DONE]')
    .map(data => JSON.parse(data))
}

async function read(response: Response, options: SendOptions): Promise<Reply> {
  const node = response.headers.get('x-warmpath-node') ?? ''
  const decoder = new TextDecoder()
  let text = ''
  if (response.body !== null) {
    for await (const piece of response.body) {
      text += decoder.decode(piece, { stream: true })
      options.onText?.(text, node)
    }
  }
  return {
    status: response.status,
    contentType: response.headers.get('content-type') ?? '',
    node,
    text: text + decoder.decode(),
  }
}

export async function post(
  origin: string,
  path: string,
  body: unknown,
  options: SendOptions = {},
): Promise<Reply> {
  const { signal = null, headers = {} } = options
  const response = await fetch(origin + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    signal,
  })
  return read(response, options)
}

/** A GET, asked once more when a kept socket was closed at that moment by the other side. */
export async function get(origin: string, path: string): Promise<Reply> {
  const ask = (): Promise<Response> =>
    fetch(origin + path, { signal: AbortSignal.timeout(GET_MS_MAX) })
  return read(await ask().catch(ask), {})
}

/** Sum of all series of a metric whose labels hold `labels`, on a Prometheus page. */
export function sumOf(page: string, name: string, labels: readonly string[] = []): number {
  let sum = 0
  for (const line of page.split('\n')) {
    const isNamed = line.startsWith(`${name} `) || line.startsWith(`${name}{`)
    if (!isNamed || !labels.every(label => line.includes(label))) continue
    sum += Number(line.slice(line.lastIndexOf(' ') + 1))
  }
  return sum
}
