"""Loss of power: the real writes and syncs of a control plane at work, recorded, and replayed to what a disk may hold after a cut.

    disk       what was written, what was synced, and every state that a cut may leave behind
    vfs        SQLite's own writes and syncs on their way to the files (apsw; the store's statements, settings and threads are its own)
    segments   the same for what programs print
    recorder   a whole control plane under load, with notes of what was acknowledged when
    verdict    a folder as a cut left it, opened by the shipped store, against these notes

Killing a process proves little, because the kernel still has its pages. Here nothing survives but what was synced, and of the rest
whatever chance leaves: any write whole, or only some of its sectors, in any order.

Where the model is kinder than a disk may be: a sector that is written is not torn inside, and bytes beside those written are not
harmed (SQLite assumes the same: `SQLITE_IOCAP_POWERSAFE_OVERWRITE`). A disk that says it has synced when it has not loses
acknowledged work whatever anybody does.
"""
