/**
 * A Chromium without a window, driven by its own protocol over a WebSocket: a page is opened,
 * asked, and photographed. A library for it would weigh more than all that is used here.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']

/** The command that starts it; null where none is installed. */
export const CHROMIUM =
  NAMES.find(name => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0) ?? null

interface Reply {
  readonly id?: number
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

export class Page {
  readonly #socket: WebSocket
  readonly #stop: () => Promise<void>
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #session = ''
  #nextId = 0

  private constructor(socket: WebSocket, stop: () => Promise<void>) {
    this.#socket = socket
    this.#stop = stop
    socket.on('message', (data: Buffer) => {
      const reply = JSON.parse(data.toString('utf8')) as Reply
      if (reply.id === undefined) return
      this.#waiting.get(reply.id)?.(reply)
      this.#waiting.delete(reply.id)
    })
  }

  /** Starts a browser with one page. */
  static async open(url: string): Promise<Page> {
    if (CHROMIUM === null) throw new Error('no Chromium is installed')
    const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-chromium-'))
    const child = spawn(
      CHROMIUM,
      [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--remote-debugging-port=0',
        '--window-size=900,700',
        `--user-data-dir=${folder}`,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], detached: true },
    )
    const exited = new Promise<void>(resolve => child.once('exit', () => resolve()))
    const stop = async (): Promise<void> => {
      // Its own processes go with it, but not in the same moment.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      await exited
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    }
    const address = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', line => {
        const found = /DevTools listening on (ws:\S+)/.exec(line)?.[1]
        if (found !== undefined) resolve(found)
      })
      child.once('error', reject)
      child.once('exit', status => reject(new Error(`Chromium ended with ${status}`)))
    })
    const socket = new WebSocket(address)
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const page = new Page(socket, stop)
    const { targetId } = await page.#call('Target.createTarget', { url })
    const target = { targetId, flatten: true }
    const { sessionId } = await page.#call('Target.attachToTarget', target)
    page.#session = String(sessionId)
    return page
  }

  /** The value of an expression in the page. */
  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.#call('Runtime.evaluate', { expression, returnByValue: true })
    return (result as { value?: unknown }).value
  }

  /** A picture of the page as PNG. */
  async picture(): Promise<Buffer> {
    const { data } = await this.#call('Page.captureScreenshot', { format: 'png' })
    return Buffer.from(String(data), 'base64')
  }

  async close(): Promise<void> {
    this.#socket.close()
    await this.#stop()
  }

  #call(method: string, params: object): Promise<Record<string, unknown>> {
    const id = ++this.#nextId
    const session = this.#session === '' ? {} : { sessionId: this.#session }
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        if (error === undefined) resolve(result ?? {})
        else reject(new Error(`${method}: ${error.message}`))
      })
      this.#socket.send(JSON.stringify({ id, method, params, ...session }))
    })
  }
}
