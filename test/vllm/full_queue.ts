/** An engine whose own queue is full refuses with 503; the gateway asks another one at once. */
import type { EngineBench } from './bench_of_engines.ts'
import type { Engine } from './engine.ts'
import { check, type Report } from './report.ts'
import { msUntil } from './until.ts'
import { json, post } from './wire.ts'

/** Requests sent at once: more than half of them are more than the small queue takes. */
const REQUESTS = 48

export async function checkFullQueue(
  report: Report,
  bench: EngineBench,
  limited: Engine,
): Promise<void> {
  const { gateway, model, prompts } = bench
  const send = (origin: string, clientId: string): ReturnType<typeof post> =>
    post(
      origin,
      '/v1/completions',
      { model, prompt: prompts.text(10), max_tokens: 40, ignore_eos: true },
      { headers: { 'x-request-id': clientId } },
    )
  const ids = Array.from({ length: REQUESTS }, () => prompts.name('queue'))
  await report.fact('direct, the engine with a small queue refuses', async () => {
    const replies = await Promise.all(ids.map(id => send(limited.url, id)))
    const refused = replies.filter(({ status }) => status === 503)
    const [first] = refused
    check(first !== undefined, `no 503 among ${replies.map(({ status }) => status).join()}`)
    return `${refused.length} of ${REQUESTS} answered 503: ${JSON.stringify(json(first))}`
  })
  await report.fact('through the gateway every request is answered', async () => {
    const rejections = (): Promise<number> => limited.metric('vllm:admission_rejections_total')
    const before = await rejections()
    const watch = { isWell: true, isOver: false }
    const watched = (async (): Promise<void> => {
      while (!watch.isOver) watch.isWell &&= (await gateway.node(limited.id)).state === 'healthy'
    })()
    const replies = await Promise.all(ids.map(id => send(gateway.url, id)))
    watch.isOver = true
    await watched
    const statuses = replies.map(({ status }) => status)
    check(
      statuses.every(status => status === 200),
      statuses.join(', '),
    )
    check(watch.isWell, `${limited.id} was not healthy all the time`)
    const refused = (await rejections()) - before
    check(refused > 0, 'the engine refused nothing')
    const lines = await Promise.all(ids.map(id => gateway.exchange(id)))
    const retried = lines.filter(line => line.retries > 0)
    check(retried.length >= refused, `${refused} refused, ${retried.length} retried`)
    const byQueue = await gateway.metric('warmpath_retries_total', 'reason="queue_full"')
    check(byQueue >= refused, `${byQueue} retries for a full queue`)
    const here = replies.filter(({ node }) => node === limited.id).length
    return (
      `${REQUESTS} of ${REQUESTS} answered 200, ${here} of them by ${limited.id}; ${refused} ` +
      `refused there and retried at once; the node stayed healthy`
    )
  })
  await report.fact('every lease is given back', async () => {
    const ms = await msUntil(async () => (await gateway.leases()) === 0, 'empty leases')
    return `${Math.round(ms)} ms after the last answer`
  })
}
