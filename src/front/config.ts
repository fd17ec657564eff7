/** Keys `listen`, `admin` and `threads` and section `limits` of the configuration. */
import os from 'node:os'
import { z } from 'zod'
import { addressSetting, duration, flag, integer, size } from '../setting.ts'

/** Port of the data listener; the admin port is the next one. */
export const DATA_PORT_DEFAULT = 8100

/** Threads of one process; each has its own heap of some 20 MB. */
const THREADS_MAX = 256

/** Origins in the list; each is compared with that of every handshake. */
const ORIGINS_MAX = 256
const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#]+$/

const MIB = 1024 ** 2

export const frontShape = {
  listen: addressSetting()
    .prefault(`127.0.0.1:${DATA_PORT_DEFAULT}`)
    .describe('Where clients connect. Port 0 takes a free one.'),
  admin: addressSetting()
    .optional()
    .describe('Where operators connect. Left out: port of `listen` + 1, on loopback.'),
  threads: integer(1, THREADS_MAX)
    .default(os.availableParallelism())
    .describe('Gateway threads. Left out: one a core.'),
  origins: z
    .array(z.string().regex(ORIGIN, { error: 'an origin is scheme://host or scheme://host:port' }))
    .max(ORIGINS_MAX)
    .default([])
    .describe(
      'Origins of pages that may ask (CORS, WebSocket). Empty: no CORS, WebSockets unchecked.',
    ),
}

export const limitsSchema = z
  .strictObject({
    body_bytes_max: size(1024, 1024 * MIB)
      .prefault('32MiB')
      .describe('Bytes of a request body; a longer one gets 413.'),
  })
  .prefault({})
  .describe('Limits of one request.')

/** Seconds of silence that uWebSockets.js can tell apart: its timer is that coarse, and no finer. */
const IDLE_MS_MIN = 8000
const IDLE_MS_MAX = 960_000
/** Milliseconds; a browser's socket may live for days, an age limit beyond that is none. */
const LIFETIME_MS_MAX = 7 * 24 * 3_600_000

export const websocketSchema = z
  .strictObject({
    enabled: flag()
      .default(true)
      .describe('Off: an upgrade is answered 426, and clients fall back to HTTP.'),
    in_flight_max: integer(1, 1024)
      .default(16)
      .describe('Responses that run at once on one connection; further ones wait.'),
    frame_bytes_max: size(1024, 64 * MIB)
      .prefault('16MiB')
      .describe('Bytes of a frame from a client; a longer one closes the connection with 1009.'),
    lifetime_ms: duration(100, LIFETIME_MS_MAX)
      .prefault('60m')
      .describe('Age at which a connection takes no more requests and closes when it is idle.'),
    ping_ms: duration(100).prefault('25s').describe('Pause between two pings.'),
    idle_ms: duration(IDLE_MS_MIN, IDLE_MS_MAX)
      .prefault('2m')
      .describe('A client from which nothing came for this long, not even a pong, is closed.'),
    blocked_ms: duration(100)
      .prefault('10s')
      .describe(
        'A client that has taken nothing for this long while there was something to send is closed with 1013.',
      ),
  })
  .prefault({})
  .describe('WebSocket endpoints.')
