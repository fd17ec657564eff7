/**
 * Loads the native addon once per thread. The file lies at the package's root in
 * `build/Release`, the same distance from `src/native`, `dist/native` and `dist-tools/src/native`
 * being unknown, so the root is found by walking up to `binding.gyp`.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/** Directory that holds `package.json` and `binding.gyp` of this package. */
export function packageRoot(): string {
  let folder = import.meta.dirname
  while (!existsSync(path.join(folder, 'binding.gyp'))) {
    const parent = path.dirname(folder)
    if (parent === folder) throw new Error('package root not found: binding.gyp is missing')
    folder = parent
  }
  return folder
}

const file = path.join(packageRoot(), 'build/Release/warmpath.node')
if (!existsSync(file)) {
  throw new Error(`the native addon is not built (${file} is missing): run "npm run build:native"`)
}

/** The addon's functions; each face of this folder narrows it to the part that it wraps. */
export const addon: unknown = createRequire(import.meta.url)(file)
