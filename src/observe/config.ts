/** Section `log` of the configuration. */
import { z } from 'zod'

export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const

export const logSchema = z
  .strictObject({
    level: z
      .enum(LOG_LEVELS)
      .default('info')
      .describe('Lines below this level are not written; exchanges are logged at info.'),
    destination: z
      .string()
      .min(1)
      .default('stdout')
      .describe('stdout, stderr or a file, which is appended to.'),
  })
  .prefault({})
  .describe('Structured log, one JSON line an entry.')

export type LogConfig = z.output<typeof logSchema>
export type LogLevel = LogConfig['level']
