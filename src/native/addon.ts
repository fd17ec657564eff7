/**
 * Loads the native addon once per thread. The file lies at the package's root in
 * `build/Release`.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { packageRoot } from './package_root.ts'

const file = path.join(packageRoot(), 'build/Release/warmpath.node')
if (!existsSync(file)) {
  throw new Error(`the native addon is not built (${file} is missing): run "npm run build:native"`)
}

/** The addon's functions; each face of this folder narrows it to the part that it wraps. */
export const addon: unknown = createRequire(import.meta.url)(file)
