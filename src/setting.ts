/**
 * How a setting is spelled: schemas for durations, sizes, whole numbers and addresses that the
 * rooms' own sections of the configuration are made of (`src/<room>/config.ts`).
 *
 *   duration   250 | "250ms" | "2s" | "1.5m" | "1h"    a bare number is milliseconds
 *   size       1048576 | "1MiB" | "64KiB" | "1GiB"     a bare number is bytes
 *   integer    8 | "8"                                 digits, because "${VARIABLE}" gives text
 *   address    "127.0.0.1:8100" | "[::1]:8100" | 8100  a bare port is on loopback
 *
 * Every schema refuses what it does not understand and says what it wants; the error's place in
 * the file is added by config/load.ts.
 */
import { z } from 'zod'
import { parseAddress } from './address.ts'

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
}

/** Longest duration a timer of Node can wait, in milliseconds (it wraps to 1 ms beyond). */
export const DURATION_MS_MAX = 2_147_483_647

function spelled(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim())
  if (match === null) return null
  const unit = match[2] === '' ? 1 : units[match[2]!]
  return unit === undefined ? null : Number(match[1]) * unit
}

function quantity(units: Readonly<Record<string, number>>, wanted: string) {
  return z
    .union([z.number(), z.string()], { error: `expected ${wanted}` })
    .transform((value, ctx) => {
      const number = typeof value === 'number' ? value : spelled(value, units)
      if (number !== null && Number.isFinite(number)) return number
      ctx.addIssue({ code: 'custom', message: `expected ${wanted}, not ${JSON.stringify(value)}` })
      return z.NEVER
    })
}

function bounded(schema: ReturnType<typeof quantity>, min: number, max: number, unit: string) {
  return schema.superRefine((value, ctx) => {
    const suffix = unit === '' ? '' : ` ${unit}`
    if (!Number.isInteger(value)) {
      ctx.addIssue({
        code: 'custom',
        message: `expected a whole number${suffix && ` of${suffix}`}`,
      })
    } else if (value < min || value > max) {
      const message = `${value}${suffix} is out of range: ${min} to ${max}${suffix}`
      ctx.addIssue({ code: 'custom', message })
    }
  })
}

/** Whole milliseconds between `min` and `max`. */
export function duration(min: number, max: number = DURATION_MS_MAX) {
  const wanted = 'a duration (milliseconds, or "250ms", "2s", "5m", "1h")'
  return bounded(quantity(DURATION_UNITS, wanted), min, max, 'ms')
}

/** Whole bytes between `min` and `max`. */
export function size(min: number, max: number = Number.MAX_SAFE_INTEGER) {
  const wanted = 'a size (bytes, or "64KiB", "32MiB", "1GiB")'
  return bounded(quantity(SIZE_UNITS, wanted), min, max, 'bytes')
}

/** A whole number between `min` and `max`. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER) {
  return bounded(quantity({}, 'a whole number'), min, max, '')
}

/** Any number between `min` and `max`. */
export function real(min: number, max: number) {
  return quantity({}, 'a number').superRefine((value, ctx) => {
    if (value >= min && value <= max) return
    ctx.addIssue({ code: 'custom', message: `${value} is out of range: ${min} to ${max}` })
  })
}

/** true or false; the words as text too, because "${VARIABLE}" gives text. */
export function flag() {
  return z
    .union([z.boolean(), z.enum(['true', 'false'])], { error: 'expected true or false' })
    .transform(value => value === true || value === 'true')
}

/** A place to listen on. */
export function addressSetting() {
  return z.union([z.string(), z.number()]).transform((value, ctx) => {
    const parsed = parseAddress(String(value))
    if (parsed !== null) return parsed
    const wanted = '"127.0.0.1:8100", "[::1]:8100" or a port from 0 to 65535'
    ctx.addIssue({ code: 'custom', message: `expected ${wanted}, not ${JSON.stringify(value)}` })
    return z.NEVER
  })
}
