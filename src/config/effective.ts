/**
 * The one configuration that the rest of the process sees: complete, checked and frozen. Its keys
 * are spelled as in the file, so that code, file and documents have one name for a setting.
 */
import { z } from 'zod'
import { tenantName } from '../access/keys.ts'
import { type Address, formatAddress } from '../address.ts'
import type { configurationSchema } from './schema.ts'

type Parsed = z.output<typeof configurationSchema>

export interface Configuration extends Readonly<Omit<Parsed, 'admin' | 'api_keys_file'>> {
  readonly admin: Address
  readonly api_keys_file: string | null
  /** Absolute path of the file, or null when there is none. */
  readonly file: string | null
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  Object.freeze(value)
  for (const part of Object.values(value)) freeze(part)
}

/** The configuration, so that nobody changes it by accident. */
export function frozen(configuration: Configuration): Configuration {
  freeze(configuration)
  return configuration
}

/** What stands for a key: enough to find its tenant in the log, useless to a thief. */
function masked(key: string): string {
  return `*** (tenant ${tenantName(key)})`
}

/** The configuration in the shape of the file with every secret masked: for `warmpath check`. */
export function withoutSecrets(configuration: Configuration): Record<string, unknown> {
  const { file: _, listen, admin, api_keys_file, ...rest } = configuration
  return {
    listen: formatAddress(listen),
    admin: formatAddress(admin),
    ...rest,
    api_keys: configuration.api_keys.map(masked),
    ...(api_keys_file === null ? {} : { api_keys_file }),
    admin_keys: configuration.admin_keys.map(masked),
    nodes: configuration.nodes.map(node =>
      node.api_key === undefined ? node : { ...node, api_key: '***' },
    ),
  }
}
