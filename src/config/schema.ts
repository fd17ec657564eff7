/**
 * The whole configuration: the rooms' own sections, put together. A key that no room knows is an
 * error. docs/configuration.md is checked against this schema, key by key.
 */
import { z } from 'zod'
import { accessShape } from '../access/config.ts'
import { timeoutsSchema } from '../exchange/config.ts'
import { frontShape, limitsSchema, websocketSchema } from '../front/config.ts'
import { healthSchema, nodesSchema } from '../nodes/config.ts'
import { logSchema } from '../observe/config.ts'
import { modelsSchema } from '../prompt/config.ts'
import { responsesSchema } from '../responses/config.ts'
import { routingSchema } from '../routing/config.ts'

export const configurationSchema = z.strictObject({
  ...frontShape,
  ...accessShape,
  nodes: nodesSchema,
  models: modelsSchema,
  routing: routingSchema.prefault({}).describe('Placement and the wait queue.'),
  limits: limitsSchema,
  websocket: websocketSchema,
  timeouts: timeoutsSchema,
  health: healthSchema,
  responses: responsesSchema,
  log: logSchema,
})

/** The part of JSON Schema that is read here: names, nesting and descriptions. */
export interface SettingSchema {
  readonly properties?: Readonly<Record<string, SettingSchema>>
  readonly items?: SettingSchema
  readonly description?: string
}

/** The schema as data: what keys there are, under which path. */
export function settingSchema(): SettingSchema {
  // Decode boundary: JSON Schema is open-ended, the interface names the part that is used.
  return z.toJSONSchema(configurationSchema, {
    io: 'input',
    unrepresentable: 'any',
  }) as SettingSchema
}

/** The keys known under a path. */
export function keysUnder(path: readonly (string | number)[]): string[] {
  let schema: SettingSchema | undefined = settingSchema()
  for (const step of path) {
    schema = typeof step === 'number' ? schema?.items : schema?.properties?.[step]
  }
  return Object.keys(schema?.properties ?? {})
}
