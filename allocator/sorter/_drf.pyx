"""The DRF sorter that keeps its order up to date, compiled."""

cimport cython

from allocator.sorter._ordering cimport Ordering
from allocator.sorter._tree cimport TreeOrdering


@cython.final
@cython.auto_pickle(False)
cdef class DRFSorter(TreeOrdering):
    """Clients by weighted Dominant Resource Fairness, in an order that is kept up to date.

    Parameters
    ----------
    exclude : iterable of str
        Resource names left out of the share.
    flat : bool
        Whether each client is one leaf, whatever characters its name has.
    totals : Totals, optional
        Agents' totals shared with other sorters; its own without.

    Raises
    ------
    InvalidValue
        If `exclude` is not a collection of names.

    Notes
    -----
    The rules are those of the DRF sorter of Apache Mesos; the interface is that of `Sorter`. All of
    it is `TreeOrdering`: a node goes by its share.

    Examples
    --------
    >>> sorter = DRFSorter()
    >>> sorter.add_agent("a1", "cpus:100;mem:100")
    >>> for client in ("eng/prod", "eng/test", "ops"):
    ...     sorter.add(client)
    ...     sorter.activate(client)
    >>> sorter.allocated("eng/prod", "a1", "cpus:5;mem:10")
    >>> sorter.sort(), sorter.share("eng")
    (['ops', 'eng/test', 'eng/prod'], 0.1)
    """

    def __cinit__(self, exclude=(), *, flat=False, totals=None):
        """Take no other options."""

    cdef TreeOrdering blank(self, object totals):
        """Return a sorter of the same kind and options on these totals, without clients."""
        return DRFSorter(self.exclude, flat=self.flat, totals=totals)

    cdef Ordering copy_for_some(self, object totals):
        """Return a copy: siblings go by what they hold, whoever else is active. As `copy`."""
        return self.copy(totals)
