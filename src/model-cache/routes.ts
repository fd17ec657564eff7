/**
 * Where a chunk comes from. The chain, each step only when the one before it has nothing:
 *
 *   warm peer ──► cold owner ──► warm-up ──► source
 *
 *   warm peer   has the chunk; of several the one with fewer bytes outstanding
 *   cold owner  of the members that are loading the file, rendezvous hashing names one an extent:
 *               it alone reads the source, the others ask it and are held until it has the chunk
 *
 * Worked example: members A, B, C load one file of three extents, and nobody has any of it. The
 * scores make B the owner of extent 0, A of 1, C of 2. A asks B for extent 0, reads extent 1 from
 * the source, asks C for extent 2. When B dies, the next in B's order (say C) owns extent 0; when
 * A is the next, A reads it itself. Every byte leaves the source once.
 *
 * In the first moments members may know of different others, and so name different owners. Then two
 * could wait for each other: a member that is asked for a chunk takes it for its own, and one that
 * is itself waiting for another cold member says so at once, in place of letting the asker wait.
 *
 * An extent that is asked of a member whose answer is "not me" is asked of the next; members that
 * failed stay excluded for the rest of this hydration, so the chain always ends at the source.
 */
import { EXTENT_CHUNKS, ownersOf } from './digest.ts'
import type { Peer } from './peer.ts'
import type { TreeFile } from './tree.ts'

export const TIERS = ['local', 'peer', 'warmup', 'source'] as const
export type Tier = (typeof TIERS)[number]

export type Route =
  /** Cold: the peer has not said that it has the chunk, only that it loads the file. */
  | { readonly tier: 'peer' | 'warmup'; readonly peer: Peer; readonly isCold: boolean }
  | { readonly tier: 'source' }

const SOURCE: Route = { tier: 'source' }

export interface RouteInput {
  readonly file: TreeFile
  readonly chunk: number
  /** Id of this member. */
  readonly self: string
  readonly peers: readonly Peer[]
  /** Ids that failed for this file, or for this chunk. */
  readonly excluded: (peer: Peer) => boolean
  /** A peer asked us for it: whoever it takes for the owner is us, whatever we would say. */
  readonly isWantedByPeer: boolean
  /** Holders disagree about this chunk: only the source can tell. */
  readonly isDisputed: boolean
}

/** The peer with fewer bytes on the way; ties go to the first. */
function leastLoaded(peers: readonly Peer[]): Peer {
  return peers.reduce((best, peer) => (peer.inFlight < best.inFlight ? peer : best))
}

export function routeOf(input: RouteInput): Route {
  const { file, chunk, self } = input
  if (file.isAmbiguous || input.isDisputed) return SOURCE
  const usable = input.peers.filter(peer => peer.isUsable && !input.excluded(peer))
  const members = usable.filter(peer => !peer.isWarmup)
  const warm = members.filter(peer => peer.holds(file.fileId, file.generation, chunk))
  if (warm.length > 0) return { tier: 'peer', peer: leastLoaded(warm), isCold: false }
  const loading = members.filter(peer => peer.isLoading(file.fileId, file.generation))
  if (loading.length > 0 && !input.isWantedByPeer) {
    const ids = [self, ...loading.map(peer => peer.id)]
    const extent = Math.floor(chunk / EXTENT_CHUNKS)
    const [owner] = ownersOf(ids, file.generation, file.fileId, extent)
    const peer = loading.find(({ id }) => id === owner)
    if (peer !== undefined) return { tier: 'peer', peer, isCold: true }
  }
  const warmups = usable.filter(peer => peer.isWarmup && peer.serves(file.fileId, file.generation))
  if (warmups.length === 0) return SOURCE
  return { tier: 'warmup', peer: leastLoaded(warmups), isCold: false }
}
