/**
 * Loads the model cache's addon (Linux only) and carries its events to whoever waits for them.
 *
 *     native threads --> one queue of 64-byte records --> one thread-safe function --> drain()
 *
 * The addon is a second one, so that a gateway never loads it and other platforms install without
 * it. Everything here belongs to one thread of JavaScript, the cache daemon's main thread.
 * Functions that fail return a negative errno; the faces turn it into an `Error` with `code`.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { packageRoot } from './package_root.ts'

const EVENT_BYTES = 64
/** Records taken in one call: 16 KiB. */
const EVENTS_TAKEN_MAX = 256

/** Kinds of records; the same numbers as in native/model_cache/events.h. */
export const EVENT_COPIED = 1
export const EVENT_FETCHED = 2
export const EVENT_CHUNK_WANTED = 3
export const EVENT_OPEN_WANTED = 4
export const EVENT_CHECK_WANTED = 5
export const EVENT_MOUNT_READY = 6
export const EVENT_MOUNT_ENDED = 7

/** One record: what each word means is said where its kind is handled. */
export interface NativeEvent {
  readonly kind: number
  /** The call that is answered, or the mount, sender or peer that speaks. */
  readonly token: number
  /** Negative errno, or 0. */
  readonly error: number
  readonly status: number
  readonly a: number
  readonly b: number
  /** 16 bytes of a hash, and 16 more; valid until the listener returns. */
  readonly bytes: Buffer
}

interface EventAddon {
  mcOpen(onWake: () => void): void
  mcDrain(out: Uint8Array): number
  mcKeepAlive(isWanted: boolean): void
}

const file = path.join(packageRoot(), 'build/Release/warmpath_model_cache.node')
let loaded: object | null = null
const listeners = new Map<string, (event: NativeEvent) => void>()
const waiting = new Map<number, (event: NativeEvent) => void>()
/** Tokens are u32 in native memory; a call is answered long before they come round. */
const TOKENS = 2 ** 32
let tokenNext = 0

/** Why the addon cannot be used here, or null. */
function modelCacheMissing(): string | null {
  if (process.platform !== 'linux')
    return `the model cache needs Linux, this is ${process.platform}`
  if (!existsSync(file)) return `${file} is missing: run "npm run build:native"`
  return null
}

function decode(records: Buffer, index: number): NativeEvent {
  const at = index * EVENT_BYTES
  return {
    kind: records.readUInt32LE(at),
    token: records.readUInt32LE(at + 4),
    error: records.readInt32LE(at + 8),
    status: records.readUInt32LE(at + 12),
    a: Number(records.readBigUInt64LE(at + 16)),
    b: Number(records.readBigUInt64LE(at + 24)),
    bytes: records.subarray(at + 32, at + EVENT_BYTES),
  }
}

function hand(native: EventAddon, event: NativeEvent): void {
  if (event.kind !== EVENT_COPIED && event.kind !== EVENT_FETCHED) {
    listeners.get(`${event.kind}:${event.token}`)?.(event)
    return
  }
  const resolve = waiting.get(event.token)
  waiting.delete(event.token)
  if (waiting.size === 0) native.mcKeepAlive(false)
  resolve?.(event)
}

/** The addon, loaded at the first call; throws where there is none (`modelCacheMissing`). */
export function modelCacheAddon(): object {
  if (loaded !== null) return loaded
  const missing = modelCacheMissing()
  if (missing !== null) throw new Error(missing)
  // Decode boundary: what `require` returns has no type; each face narrows it to its part.
  const native = createRequire(import.meta.url)(file) as EventAddon
  const records = Buffer.from(new ArrayBuffer(EVENT_BYTES * EVENTS_TAKEN_MAX))
  native.mcOpen(() => {
    for (;;) {
      const count = native.mcDrain(records)
      for (let index = 0; index < count; index++) hand(native, decode(records, index))
      if (count < EVENTS_TAKEN_MAX) return
    }
  })
  loaded = native
  return native
}

/** Hears of all records of this kind that carry this token; null ends it. */
export function listen(
  kind: number,
  token: number,
  listener: ((event: NativeEvent) => void) | null,
): void {
  if (listener === null) listeners.delete(`${kind}:${token}`)
  else listeners.set(`${kind}:${token}`, listener)
}

/** Runs `start` with a fresh token and waits for the record that answers it. */
export function answered(start: (token: number) => boolean): Promise<NativeEvent> {
  const token = tokenNext
  tokenNext = (tokenNext + 1) % TOKENS
  return new Promise((resolve, reject) => {
    if (!start(token)) {
      reject(nativeError(-os.constants.errno.EAGAIN, 'too much is under way'))
      return
    }
    // Decode boundary: loaded by whoever made `start`.
    if (waiting.size === 0) (modelCacheAddon() as EventAddon).mcKeepAlive(true)
    waiting.set(token, event => {
      // The records' buffer is used again.
      resolve({ ...event, bytes: Buffer.from(event.bytes) })
    })
  })
}

const ERRNO_NAMES = new Map(Object.entries(os.constants.errno).map(([name, n]) => [n, name]))

/** An `Error` whose `code` is the name of the errno; ENODATA is called TRUNCATED. */
export function nativeError(error: number, what: string): NodeJS.ErrnoException {
  const name = ERRNO_NAMES.get(-error) ?? `errno ${-error}`
  const code = name === 'ENODATA' ? 'TRUNCATED' : name
  return Object.assign(new Error(`${what}: ${code}`), { code, errno: error })
}

/** A result that is a negative errno becomes an error. */
export function checked(result: number, what: string): number {
  if (result < 0) throw nativeError(result, what)
  return result
}

/** Refuses what is not a descriptor, with the name of the argument. */
export function checkDescriptor(value: number, name: string): void {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 31) return
  throw new TypeError(`${name} must be a file descriptor, got ${value}`)
}

/** Refuses what is not a whole number of bytes. */
export function checkBytes(value: number, name: string): void {
  if (Number.isSafeInteger(value) && value >= 0) return
  throw new TypeError(`${name} must be a whole number of bytes, got ${value}`)
}
