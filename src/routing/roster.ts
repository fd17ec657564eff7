/**
 * A set of things that are under way: joined by each request and left a moment later.
 *
 *     members [ a b c d ]   leave(b) ──► [ a d c ]     every member knows its place
 *
 * A built-in Set or Map does the same in one line, but it makes a new table every few dozen
 * joins, and a table that reached the old generation keeps the requests of its time from being
 * collected. Scavenges then copied a third of all garbage, and a short request paid 15 µs for it.
 * Order is lost; a member may be in one roster only.
 */

export interface Member {
  /** Place in the roster; -1 outside. Written by the roster alone. */
  rosterIndex: number
}

export class Roster<T extends Member> {
  readonly #members: T[] = []

  get size(): number {
    return this.#members.length
  }

  join(member: T): void {
    member.rosterIndex = this.#members.push(member) - 1
  }

  /** Harmless for who is not in it. */
  leave(member: T): void {
    if (member.rosterIndex < 0) return
    const last = this.#members.pop()
    if (last !== undefined && last !== member) {
      this.#members[member.rosterIndex] = last
      last.rosterIndex = member.rosterIndex
    }
    member.rosterIndex = -1
  }

  /** A copy, so that whoever walks it may leave or make others leave. */
  members(): readonly T[] {
    return this.#members.slice()
  }
}
