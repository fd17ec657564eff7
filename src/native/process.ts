/** The end of the process, whatever its threads are doing (native/process). */
import { addon } from './addon.ts'

interface ProcessAddon {
  processEnd(code: number): never
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as ProcessAddon

/** Ends the process at once with an exit code (0 to 255); what was not written is lost. */
export function endProcess(code: number): never {
  return native.processEnd(code)
}
