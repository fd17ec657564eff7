/** What the gateway finds out about nodes of which it was given the URL and nothing else. */
import type { EngineBench } from './bench_of_engines.ts'
import { check, type Report } from './report.ts'
import { get, json, post } from './wire.ts'

/** Spellings of control paths: none of them may reach an engine. */
const CONTROL_PATHS = [
  '/reset_prefix_cache',
  '//reset_prefix_cache',
  '/v1/../reset_prefix_cache',
  '/%72eset_prefix_cache',
  '/sleep?level=1',
  '/collective_rpc',
  '/v1/load_lora_adapter',
  '/server_info',
  '/kv_event_sources',
]

export async function checkDiscovery(report: Report, bench: EngineBench): Promise<void> {
  const { gateway, engines, model } = bench
  await report.fact('nodes are known by their URLs alone', async () => {
    const figures: string[] = []
    for (const engine of engines) {
      const node = await gateway.node(engine.id)
      const own = (await engine.models()).map(({ id }) => id)
      check(node.state === 'healthy', `${node.id} is ${node.state}`)
      check(node.kvEvents === 'live', `${node.id}: KV events ${node.kvEvents}`)
      check(node.blockSize === (await engine.blockSize()), `${node.id}: block size`)
      check(
        own.every(id => node.models.includes(id)),
        `${node.id}: models ${node.models.join()}`,
      )
      figures.push(
        `${node.id} models ${node.models.join()} blocks of ${node.blockSize} events live`,
      )
    }
    return figures.join('; ')
  })
  await report.fact('/v1/models is the union, with the items of the nodes', async () => {
    // Decode boundary: a list in OpenAI's form.
    const { data } = json(await get(gateway.url, '/v1/models')) as { data: { id: string }[] }
    const wanted = new Set((await Promise.all(engines.map(one => one.models()))).flat().map(idOf))
    check(data.length === wanted.size && data.every(({ id }) => wanted.has(id)), 'another list')
    return data.map(idOf).join(', ')
  })
  await report.fact('control paths reach no engine, however they are spelled', async () => {
    for (const path of CONTROL_PATHS) {
      const reply = await post(gateway.url, path, { model })
      check(reply.status === 404 && reply.node === '', `${path}: ${reply.status} ${reply.node}`)
    }
    return `${CONTROL_PATHS.length} paths, all 404`
  })
}

function idOf({ id }: { readonly id: string }): string {
  return id
}
