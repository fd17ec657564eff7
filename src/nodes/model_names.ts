/**
 * Under which name the blocks of a node's base model are indexed. It enters the root of each chain,
 * so nodes that serve one model must have one name for it, whatever other names each gives it.
 *
 *     A joins with alpha, beta      alpha, beta ─► alpha
 *     B joins with beta             beta is known ─► alpha: one index, both are found for `beta`
 *     C joins with gamma            gamma ─► gamma
 *     D joins with gamma, alpha     they are one: gamma ─► alpha, C is indexed anew (`onMerged`)
 *
 * Served names that meet at one node name one model. A name stays once it is given, also when the
 * node that brought it leaves: to index a fleet anew costs more than a name. What it does badly:
 * two models that share an alias share an index; their slots stay apart, so nothing wrong is found.
 */

/** Served names remembered: a node that invents some fills no memory, past it each has its own. */
export const NAMES_MAX = 4096

export class ModelNames {
  readonly #byServed = new Map<string, string>()
  readonly #onMerged: () => void

  /** `onMerged`: names that were given before are others now, ask again. */
  constructor(onMerged: () => void) {
    this.#onMerged = onMerged
  }

  /** The name for a node that serves its base model under these; null without any. */
  nameFor(served: readonly string[]): string | null {
    const known = new Set<string>()
    for (const id of served) {
      const name = this.#byServed.get(id)
      if (name !== undefined) known.add(name)
    }
    const name = leastOf(known.size === 0 ? served : known)
    if (name === null || this.#byServed.size + served.length > NAMES_MAX) return name
    for (const id of served) this.#byServed.set(id, name)
    if (known.size > 1) this.#merge(known, name)
    return name
  }

  #merge(names: ReadonlySet<string>, into: string): void {
    for (const [id, name] of this.#byServed) if (names.has(name)) this.#byServed.set(id, into)
    this.#onMerged()
  }
}

function leastOf(names: Iterable<string>): string | null {
  let least: string | null = null
  for (const name of names) if (least === null || name < least) least = name
  return least
}
