/* The cells by their number in bptt_cell. */
#ifndef BPTT_CELLS_CELLS_H
#define BPTT_CELLS_CELLS_H
#include "cells/cell.h"

#define QUOTED(path) #path
#define CELL_FILE(name) QUOTED(name.h)
#include "cells/list.h"

LOCAL const struct {
    const char *name;
    const cell *cell;
} cells[] = {
#define ENTRY(enumerator, name, code) [BPTT_CELL_##enumerator] = {name, &code},
    CELLS(ENTRY)
#undef ENTRY
};

/* The cell of a spec in the form that it asks for; NULL: there is none. */
LOCAL const cell *cell_of(const bptt_spec *spec) {
    const cell *cell = cells[spec->cell].cell;
    if (bptt_internal_leaks(spec)) return spec->reset_before ? NULL : cell->leaky;
    return spec->reset_before ? cell->reset_before : cell;
}
#endif
