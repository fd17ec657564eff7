/** Looks at a folder that somebody named, before anything is begun with it. */
import { statSync } from 'node:fs'

/** What is wrong with it, in words; nothing when it is a folder that can be looked at. */
export function folderFault(what: string, place: string): string[] {
  try {
    return statSync(place).isDirectory() ? [] : [`the ${what} ${place} is no folder`]
  } catch {
    return [`the ${what} ${place} does not exist or cannot be read`]
  }
}
