-- Blocks of lines that are not summarized yet are read whole by every slice of a proof; let autovacuum keep up with them.
alter index lines_by_sequence set (autosummarize = on);
