"""The tool inside `satae run`: a list of scenes in; a finished folder a scene, a journal, an index and one result out.

From a list to a result:

1. `manifest`: what was named (a list, folder, glob, table, STAC items) becomes entries: files, a name no other entry
   has, options. They stream by; a list of a million is never held.
2. `key`: an entry, its model and its options become a hash. Files count by size, time of change and sampled blocks.
3. `plan`: a line an entry goes to a file; what has no finished folder yet, and was not refused before, is to be done.
   Of it only size and place in that file are held, and the largest comes first.
4. `work`: a task is scored in a folder of its own below `parts` and takes its place, `scenes/NAME-KEY`, by one rename.
   There is no lock: whoever comes second finds the place taken and drops an equal folder.
   Of a scene that is split, blocks of rows are scanned below `.blocks` first, each a task (`backlog`).
5. `pool`: spawned processes do the tasks, a scene at a time each; one that dies is noticed, another gets its scene.
6. `journal`: a line in one write for all that was tried, so that a kill leaves at most one torn line, the last.
7. `index` and `collect`: of all finished folders a table; one GeoPackage, one report and one STAC catalogue. Rows pass
   through, ranks are made by SQLite on disk.

Whatever is killed and whenever: what has its name is finished, what has not is done again, and nothing else counts.
"""
