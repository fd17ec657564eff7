/** Keys `listen`, `admin` and `threads` and section `limits` of the configuration. */
import os from 'node:os'
import { z } from 'zod'
import { addressSetting, integer, size } from '../setting.ts'

/** Port of the data listener; the admin port is the next one. */
export const DATA_PORT_DEFAULT = 8100

/** Threads of one process; each has its own heap of some 20 MB. */
const THREADS_MAX = 256

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
}

export const limitsSchema = z
  .strictObject({
    body_bytes_max: size(1024, 1024 * MIB)
      .prefault('32MiB')
      .describe('Bytes of a request body; a longer one gets 413.'),
  })
  .prefault({})
  .describe('Limits of one request.')
