/** uWebSockets.js, loaded with room for large heads. */
import { allowLargeHeads } from './head_limit.ts'

allowLargeHeads()

// Imported late, because a static import would run before the line above.
export const { default: uWS } = await import('uWebSockets.js')
