/** A small HTTP server on a free port that answers the control paths of a vLLM node. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export interface StandInState {
  healthStatus: number
  models: readonly unknown[]
  version: string
  processStart: number
  /** Text of /metrics; null = 404. */
  metrics: string | null
  /** Body of /kv_event_sources; null = 404. */
  sources: unknown
  apiKey: string | null
  /** Paths whose requests are never answered. */
  hung: Set<string>
}

export function metricsText(processStart: number, blockSize = 16, blocks = 1000): string {
  const config = [
    `block_size="${blockSize}"`,
    `num_gpu_blocks="${blocks}"`,
    'prefix_caching_hash_algo="sha256"',
    'enable_prefix_caching="True"',
    'engine="0"',
  ]
  return [
    '# HELP vllm:num_requests_running Number of requests',
    `process_start_time_seconds ${processStart}`,
    'vllm:num_requests_running{engine="0",model_name="m"} 3.0',
    'vllm:num_requests_waiting{engine="0",model_name="m"} 1.0',
    'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25',
    'vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} 1.0',
    'vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="weights_offloaded"} 0.0',
    `vllm:cache_config_info{${config.join(',')}} 1.0`,
    '',
  ].join('\n')
}

export class StandInNode {
  readonly state: StandInState = {
    healthStatus: 200,
    models: [{ id: 'm', object: 'model', created: 1, owned_by: 'vllm', parent: null }],
    version: '0.32.0',
    processStart: 1000,
    metrics: metricsText(1000),
    sources: null,
    apiKey: null,
    hung: new Set(),
  }
  readonly requests: string[] = []
  socketsOpened = 0
  port = 0
  /** Answers data paths; replaced by tests. */
  onData: (request: IncomingMessage, response: ServerResponse) => void = (_, response) => {
    response.setHeader('content-type', 'application/json')
    response.end('{}')
  }
  #server: Server | null = null
  readonly #sockets = new Set<Socket>()

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Listens on a free port, or again on the one it had. */
  async listen(keepAliveTimeoutMs = 5000): Promise<this> {
    const server = createServer({ keepAliveTimeout: keepAliveTimeoutMs }, (request, response) => {
      this.#answer(request, response)
    })
    server.on('connection', socket => {
      this.socketsOpened++
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>(resolve => server.listen(this.port, '127.0.0.1', resolve))
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    this.port = (server.address() as AddressInfo).port
    this.#server = server
    return this
  }

  get socketsOpen(): number {
    return this.#sockets.size
  }

  /** Dies like kill -9: every connection is reset and nobody listens. */
  async kill(): Promise<void> {
    for (const socket of this.#sockets) socket.resetAndDestroy()
    const server = this.#server
    this.#server = null
    if (server !== null) await new Promise(resolve => server.close(resolve))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').split('?', 1)[0] ?? ''
    this.requests.push(path)
    if (this.state.hung.has(path)) return
    const json = (body: unknown): void => {
      response.setHeader('content-type', 'application/json')
      response.end(body === null ? '{"detail":"Not Found"}' : JSON.stringify(body))
    }
    const { state } = this
    if (path.startsWith('/v1') && state.apiKey !== null) {
      if (request.headers.authorization !== `Bearer ${state.apiKey}`) {
        response.statusCode = 401
        json({ error: 'Unauthorized' })
        return
      }
    }
    if (path === '/health') {
      response.statusCode = state.healthStatus
      response.end()
    } else if (path === '/v1/models') {
      json({ object: 'list', data: state.models })
    } else if (path === '/version') {
      json({ version: state.version })
    } else if (path === '/metrics' && state.metrics !== null) {
      response.end(state.metrics)
    } else if (path === '/kv_event_sources' && state.sources !== null) {
      json(state.sources)
    } else if (['/metrics', '/kv_event_sources', '/is_sleeping'].includes(path)) {
      response.statusCode = 404
      json(null)
    } else {
      this.onData(request, response)
    }
  }
}
