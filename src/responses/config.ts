/** The `responses` section of the configuration: how much logs may hold. */
import { z } from 'zod'

const MIB = 2 ** 20

export const responsesConfig = z
  .strictObject({
    /** Bytes that a slow reader may be behind the others before it is cut. */
    lag_bytes_max: z
      .int()
      .min(65_536)
      .max(1024 * MIB)
      .default(MIB),
    /** Bytes of one kept log; a longer one turns into a window (no resume, not cacheable). */
    kept_bytes_max: z
      .int()
      .min(65_536)
      .max(1024 * MIB)
      .default(16 * MIB),
    /** Bytes that all logs of the process hold together. */
    store_bytes_max: z
      .int()
      .min(MIB)
      .default(256 * MIB),
  })
  .prefault({})

export type ResponsesConfig = z.infer<typeof responsesConfig>
