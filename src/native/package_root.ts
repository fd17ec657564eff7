import { existsSync } from 'node:fs'
import path from 'node:path'

/**
 * Directory that holds `package.json` and `binding.gyp` of this package: found by walking up, since
 * `src/native`, `dist/chunks` and `dist-tools/src/native` are not equally far from it.
 */
export function packageRoot(): string {
  let folder = import.meta.dirname
  while (!existsSync(path.join(folder, 'binding.gyp'))) {
    const parent = path.dirname(folder)
    if (parent === folder) throw new Error('package root not found: binding.gyp is missing')
    folder = parent
  }
  return folder
}
