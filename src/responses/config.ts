/** The `responses:` section of the configuration: what response logs may hold, and how long. */
import { z } from 'zod'
import { duration, flag, integer, size } from '../setting.ts'

const MIB = 2 ** 20

export const responsesSchema = z
  .strictObject({
    lag_bytes_max: size(65_536, 1024 * MIB)
      .prefault('1MiB')
      .describe('Bytes that a reader may be behind before it is cut as too slow.'),
    kept_bytes_max: size(65_536, 1024 * MIB)
      .prefault('16MiB')
      .describe('Bytes of one kept log; a longer one cannot be resumed or cached.'),
    store_bytes_max: size(MIB)
      .prefault('256MiB')
      .describe('Bytes that all logs of the process hold together.'),
    kept_items_max: integer(1, 65_536)
      .default(8192)
      .describe('Finished responses kept by the process; one more drops the oldest.'),
    tenant_items_max: integer(1, 65_536)
      .default(2048)
      .describe('Finished responses kept for one tenant; one more drops its oldest.'),
    tenant_bytes_max: size(65_536)
      .prefault('128MiB')
      .describe('Bytes of the finished responses kept for one tenant.'),
    retention_ms: duration(1_000)
      .default(3_600_000)
      .describe('Time after its end that a stored response can be retrieved.'),
    resume_ms: duration(1_000)
      .default(300_000)
      .describe('Time after its end that a resumable stream can be read again.'),
    grace_ms: duration(0)
      .default(30_000)
      .describe('Time that resumable work goes on without a reader before it is cancelled.'),
    collapse: flag()
      .default(true)
      .describe('Identical deterministic requests in flight share one request to a node.'),
  })
  .prefault({})
  .describe('What response logs may hold, and how long.')
