/** The `timeouts:` section of the configuration: how long an exchange waits for a node. */
import { z } from 'zod'
import { duration } from '../setting.ts'

/** A cold prefill behind a long queue of the engine takes minutes; a dead node is found sooner. */
const FIRST_BYTE_MS_DEFAULT = 600_000
/** Between two chunks of a stream an engine is silent for seconds at most. */
const BETWEEN_BYTES_MS_DEFAULT = 120_000

export const timeoutsSchema = z
  .strictObject({
    connect_ms: duration(10, 60_000)
      .default(2_000)
      .describe('A node that does not accept a connection within this is refused.'),
    first_byte_ms: duration(100)
      .default(FIRST_BYTE_MS_DEFAULT)
      .describe('From the dispatch to the first byte of the answer; then another node is tried.'),
    between_bytes_ms: duration(100)
      .default(BETWEEN_BYTES_MS_DEFAULT)
      .describe('Silence of a node in the middle of an answer that ends it with an error.'),
    drain_ms: duration(0)
      .default(30_000)
      .describe('What still runs this long after SIGTERM is ended.'),
  })
  .prefault({})
  .describe('Limits of time; there is no limit for a whole request.')
