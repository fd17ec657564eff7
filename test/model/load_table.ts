/** The plain model of the load table: three numbers a slot. */
export class LoadModel {
  readonly #slots = new Map<number, [number, number, number]>()

  #slot(slot: number): [number, number, number] {
    const load = this.#slots.get(slot) ?? [0, 0, 0]
    this.#slots.set(slot, load)
    return load
  }

  acquire(slot: number, prefill: number, blocks: number, inFlightMax: number): boolean {
    const load = this.#slot(slot)
    if (load[0] >= inFlightMax) return false
    load[0]++
    load[1] += prefill
    load[2] += blocks
    return true
  }

  firstToken(slot: number, prefill: number): void {
    this.#slot(slot)[1] -= prefill
  }

  release(slot: number, prefillLeft: number, blocks: number): void {
    const load = this.#slot(slot)
    load[0]--
    load[1] -= prefillLeft
    load[2] -= blocks
  }

  words(slotCount: number): number[] {
    return Array.from({ length: slotCount }, (_, slot) => this.#slot(slot)).flat()
  }

  isAtRest(slot: number): boolean {
    return this.#slot(slot).every(word => word === 0)
  }
}
