/** The `responses:` section of the configuration: how much response logs may hold. */
import { z } from 'zod'
import { size } from '../setting.ts'

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
  })
  .prefault({})
  .describe('How much response logs may hold.')
