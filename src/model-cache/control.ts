/**
 * The control socket of a daemon, by which `warmpath cache` talks to it: one JSON line asked, one
 * answered, then the end. It lies in a folder that only this user can enter; the accelerated path
 * is never touched for it, so a daemon in trouble can still be asked what the trouble is.
 *
 *   <run folder>/<16 hex of the first accelerated path>.sock
 *
 * Beside it lies `.json`: which process serves which paths, and for plain folders which names it
 * has put there, so that the next start can tell its own leftovers from other people's files.
 */
import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { digestOf } from './digest.ts'

/** Bytes of a question; a path and a verb. */
const QUESTION_BYTES_MAX = 1024 * 1024

/** Milliseconds that a daemon may take to answer a question that starts no load. */
export const ANSWER_MS_MAX = 5_000

/** Where sockets lie: WARMPATH_RUN_DIR, else a folder of this user under the temporary folder. */
export function runFolder(environment: Readonly<Record<string, string | undefined>>): string {
  const given = environment['WARMPATH_RUN_DIR']
  if (given !== undefined && given !== '') return path.resolve(given)
  return path.join(os.tmpdir(), `warmpath-${process.getuid?.() ?? 0}`)
}

export function controlName(accelerated: string): string {
  return digestOf(Buffer.from(accelerated)).toString('hex').slice(0, 16)
}

export type ControlHandler = (question: unknown) => Promise<object>

function serve(socket: Socket, handler: ControlHandler): void {
  let text = ''
  socket.setEncoding('utf8')
  socket.on('error', () => socket.destroy())
  socket.on('data', (part: string) => {
    text += part
    if (text.length > QUESTION_BYTES_MAX) socket.destroy()
    const end = text.indexOf('\n')
    if (end === -1) return
    const line = text.slice(0, end)
    text = ''
    void Promise.resolve()
      .then(() => handler(JSON.parse(line)))
      .catch(error => ({ error: error instanceof Error ? error.message : String(error) }))
      .then(reply => socket.end(`${JSON.stringify(reply)}\n`))
  })
}

/** Listens for questions; a socket that a killed daemon left behind is replaced. */
export async function listenControl(
  folder: string,
  name: string,
  handler: ControlHandler,
): Promise<Server> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  chmodSync(folder, 0o700)
  const file = path.join(folder, `${name}.sock`)
  rmSync(file, { force: true })
  const server = createServer(socket => serve(socket, handler))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(file, resolve)
  })
  return server
}

/** Asks a daemon; throws when none answers. */
export function askControl(file: string, question: object, waitMs?: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(file)
    let text = ''
    socket.setEncoding('utf8')
    if (waitMs !== undefined) {
      socket.setTimeout(waitMs, () => socket.destroy(new Error('the daemon does not answer')))
    }
    socket.on('connect', () => socket.write(`${JSON.stringify(question)}\n`))
    socket.on('data', (part: string) => {
      text += part
    })
    socket.on('end', () => {
      try {
        resolve(JSON.parse(text))
      } catch {
        reject(new Error('the daemon went away'))
      }
    })
    socket.on('error', reject)
  })
}

/** The sockets that lie in the folder, whether or not somebody still listens. */
export function controlSockets(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter(name => name.endsWith('.sock'))
    return names.toSorted().map(name => path.join(folder, name))
  } catch {
    return []
  }
}
