/** Keys `api_keys`, `api_keys_file` and `admin_keys` of the configuration. */
import { z } from 'zod'
import { flag } from '../setting.ts'
import { KEY_CHARS_MAX } from './keys.ts'

/** Characters that an API key needs on a public address: 128 random bits and to spare. */
export const PUBLIC_KEY_CHARS_MIN = 32

/** Keys that one gateway takes; the table is one Map in every thread. */
export const KEYS_MAX = 100_000

const key = z
  .string()
  .min(1, { error: 'an API key must not be empty' })
  .max(KEY_CHARS_MAX)
  .regex(/^[\x21-\x7e]+$/, { error: 'an API key is printable ASCII without spaces' })

export const accessShape = {
  api_keys: z
    .array(key)
    .max(KEYS_MAX)
    .default([])
    .describe('Keys of the clients; each is a tenant. Empty: loopback only, and no key is asked.'),
  api_keys_file: z
    .string()
    .min(1)
    .optional()
    .describe('File with one API key a line, added to `api_keys`; # starts a comment.'),
  admin_keys: z
    .array(key)
    .max(KEYS_MAX)
    .default([])
    .describe('Keys of operators: they open the admin listener, and the data listener too.'),
  share_prefix_cache: flag()
    .default(false)
    .describe('Tenants share the prefix caches of nodes. Off: each gets a cache salt of its own.'),
}

/** The keys in clear, as they came from file, environment and flags. */
export interface AccessConfig {
  readonly api_keys: readonly string[]
  readonly admin_keys: readonly string[]
}
