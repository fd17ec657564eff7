/**
 * The failure table of the model cache, and where each row is tested: a file of this folder (or of
 * test/native) and words by which its test is found there. The tidy suite looks that they exist.
 * What needs a mount runs where /dev/fuse is there, and says so loudly where it is not.
 *
 * Rows of object stores and of TLS are not part of the product yet.
 */
type Place = readonly [file: string, words: string]

export const FAILURE_TABLE: Readonly<Record<string, readonly Place[]>> = {
  'MC-01 daemon killed under readers of resident files': [
    ['restart.test.ts', 'a daemon killed under a reader is invisible to it'],
    ['fuse_command.test.ts', 'of the daemon: mapped files stay readable'],
  ],
  'MC-02 killed during a held open': [
    ['restart.test.ts', 'an open that was held when the daemon was killed succeeds'],
    ['copy_reads.test.ts', 'readers on several threads notice nothing of killed daemons'],
  ],
  'MC-03 killed mid-hydration and mid-send': [
    ['resume.test.ts', 'is followed by one that asks only for the chunks that are missing'],
    ['resume.test.ts', 'is left for the source by who asked it, and asked again'],
  ],
  'MC-04 killed, then re-opened while open and mapped': [
    ['restart.test.ts', 'a mapped file can be opened again after a kill'],
  ],
  'MC-05 daemon and supervisor killed': [
    ['restart.test.ts', 'killed with its daemon leaves a dead mount'],
    ['fuse_command.test.ts', 'of daemon and supervisor: the next start clears the dead mount'],
  ],
  'MC-06 application killed in a held open': [
    ['mount.test.ts', 'an application that is killed while its open is held dies at once'],
  ],
  'MC-07 source rewritten before open, during hydration, while mapped': [
    ['fuse_command.test.ts', 'a changed file: new opens see the new bytes'],
    ['member.test.ts', 'a file that changes while it is read is read anew, and never mixed'],
    ['mount.test.ts', 'a changed source is seen by new opens, and open readers keep'],
  ],
  'MC-08 equal size and second': [
    ['sources.test.ts', 'to another file of equal size and second'],
    ['member.test.ts', 'a replaced file of equal size and time is noticed on this host'],
  ],
  'MC-09 source file deleted or added': [
    ['fuse_command.test.ts', 'added files appear and deleted ones go at the next look'],
    ['sources.test.ts', 'by a deletion: kept while it is in memory'],
  ],
  'MC-10 new version during a load, pin_generation': [
    ['sources.test.ts', 'under a loader that pins its generation'],
  ],
  'MC-11 peer dies, stalls, resets': [
    ['bad_peers.test.ts', 'that stalls is replaced'],
    ['bad_peers.test.ts', 'broken off in the body'],
    ['../native/model_transfer.test.ts', 'that ends at any byte of its reply'],
  ],
  'MC-12 corrupted chunk, lying peer': [
    ['bad_peers.test.ts', 'one bit is wrong'],
    ['bad_peers.test.ts', 'that lies about its bytes is found out'],
    ['bad_peers.test.ts', 'is found out by the source'],
    ['strangers.test.ts', 'is refused by a member without a token'],
    ['strangers.test.ts', 'is not believed when it answers where a member should'],
    ['resume.test.ts', 'loads a chunk again whose bytes were damaged meanwhile'],
  ],
  'MC-13 peer of another generation': [['bad_peers.test.ts', 'another generation']],
  'MC-14 wrong token, replay, unknown file, range, slow header': [
    ['../native/model_transfer.test.ts', 'is refused without the token, with an old time'],
    ['../native/model_transfer.test.ts', 'that is not there as asked gets the status'],
    ['../native/model_transfer.test.ts', 'whose head comes too slowly is cut off'],
    ['listener.test.ts', 'that is not signed is refused before its body is taken'],
    ['listener.test.ts', 'a request for a chunk, sent again to the other port'],
  ],
  'MC-15 owner of extents dies': [
    ['member.test.ts', 'a member that dies while it owns extents is replaced'],
  ],
  'MC-16 warm-up of another source, down, dying': [
    ['member.test.ts', 'another source id is said loudly on both sides'],
    ['member.test.ts', 'a warm-up that is down is done without'],
    ['bad_peers.test.ts', 'holds up neither the start nor a file'],
    ['member.test.ts', 'a warm-up that dies while it serves is done without'],
  ],
  'MC-17 capacity below the model, below one file': [
    ['fuse_command.test.ts', 'a capacity below the model and one file'],
  ],
  'MC-18 capacity above the cgroup limit': [
    ['surroundings.test.ts', 'of a cgroup bounds the capacity'],
    ['host.test.ts', 'a capacity above the limit is shrunk, and both numbers are said'],
  ],
  'MC-19 store full of mapped files, disks full': [
    ['surroundings.test.ts', 'that is full of mapped files'],
    ['surroundings.test.ts', 'of logs: files are served'],
    ['surroundings.test.ts', 'a store without room for a note keeps the file'],
  ],
  'MC-20 daemon killed for want of memory': [
    ['memory_kill.test.ts', 'removes the half loaded file and lowers the capacity'],
    ['memory_kill.test.ts', 'removes everything when it happens again at once'],
  ],
  'MC-21 eviction while mapped': [
    ['fuse_command.test.ts', 'a dropped file is loaded again, a mapped one cannot be dropped'],
    ['mount.test.ts', 'a file is evicted only when nobody has it open'],
  ],
  'MC-22 open racing an eviction': [
    ['races.test.ts', 'opens that race evictions find one generation whole'],
  ],
  'MC-23 path traversal': [
    ['sources.test.ts', 'shows what lies in it and in the extra roots'],
    ['sources.test.ts', 'and names that are sent to the daemon do not climb'],
    ['directory_source.test.ts', 'a link that leads out is refused when it is opened'],
  ],
  'MC-24 mount point busy': [
    ['fuse_command.test.ts', 'a path that is a mount already'],
    ['mount_command.test.ts', 'what is refused before anything is touched'],
    ['restart.test.ts', 'refuses a mount point that is no empty directory'],
  ],
  'MC-25 SIGTERM': [
    ['fuse_command.test.ts', 'SIGTERM under a mapping: unmounted, exit 0'],
    ['restart.test.ts', 'unmounts under open files and mappings, whose readers go on'],
    ['surroundings.test.ts', 'of the store is given back after its last reader'],
  ],
  'MC-26 no /dev/fuse': [
    ['surroundings.test.ts', 'serves a plain folder, and says why'],
    ['restart.test.ts', 'says that /dev/fuse is missing, and how to do without'],
  ],
  'MC-27 no CAP_SYS_ADMIN, user namespace, old kernel': [
    ['surroundings.test.ts', 'serves a plain folder, and says why'],
    ['surroundings.test.ts', 'passthrough in its kernel serves by copying'],
    ['restart.test.ts', 'in a user namespace serves by copying, and says why'],
  ],
  'MC-28 source error or hang': [
    ['sources.test.ts', 'tried again, then EIO, and nothing is kept'],
    ['sources.test.ts', 'by a stall: EIO in time'],
    ['member.test.ts', 'a file that is cut short while it is read is not kept'],
  ],
  'MC-29 writing': [['mount.test.ts', 'nothing can be written']],
  'MC-30 ways of reading': [
    ['readers.test.ts', 'eight readers of a cold file, and every way to read it'],
    ['fuse_command.test.ts', 'shows what the source has, to the usual programs'],
  ],
  'MC-31 limit of the kernel on requests': [
    ['surroundings.test.ts', 'lets a cold open read the source meanwhile'],
  ],
  'MC-32 no huge pages': [['surroundings.test.ts', 'without huge pages works, warns']],
  'MC-33 random operations': [
    ['random_mount.test.ts', 'random operations show every reader one generation whole'],
    ['random_members.test.ts', 'random operations never show wrong bytes'],
    ['random.test.ts', 'random commands show every reader its own generation'],
  ],
}
