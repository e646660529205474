/*
 * Who may write for a session: ownership, takeover and fencing as package
 * cluster does them, checked exhaustively by TestOwnershipModel. The names are
 * those of the code. One session, a store of which each operation is one step,
 * and replicas that may stop between any two steps for as long as they like:
 * to the others they have lapsed then, and when they go on they know nothing
 * of it. One replica is killed or leaves, at any moment, or none is.
 * With NO_FENCING or NO_TAKEOVER the model is wrong, and the check has to say
 * so.
 */
#ifndef N
#define N       2   /* replicas */
#endif
#define NOBODY  N
#define WRITES  2   /* a history ends when so many are acknowledged */

mtype = { Free, Elsewhere };

bool record[N], dead[N];                /* the heartbeat record is there; killed */
byte name[N];                           /* the incarnation */
byte pauses = 2;                        /* so often one is found lapsed that lives */
byte releases = 1;                      /* so often a quiet session is released */
byte owner = NOBODY, ownerName, epoch = 1;            /* the session's record */
byte stored;                            /* writes in it, each acknowledged */
byte live[N];                           /* the epoch of the live copy; 0: none */
byte known[N];                          /* what the live copy knows of stored */

#ifdef NO_FENCING
#define FENCED(i) false
#else
#define FENCED(i) (live[i] != epoch)
#endif

/* Locate the owner that was read. To retire it is a step of the store's, which
 * takes no notice of whether it is back. */
inline Locate(i) {
  atomic {
    if
    :: at != NOBODY && (at != i || atName != name[i]) && record[at] && name[at] == atName ->
         if
#ifndef NO_TAKEOVER
         :: dead[at]   -> record[at] = false; where = Free
#else
         :: dead[at]   -> where = Elsewhere
#endif
         :: pauses > 0 -> pauses--; record[at] = false; where = Free
         :: !dead[at]  -> where = Elsewhere
         fi
    :: else -> where = Free
    fi;
    at = 0; atName = 0
  }
}

/* SetOwner compares the epoch and raises it; then the session is read. If
 * somebody was faster, or this incarnation is retired, nothing is claimed. */
inline Claim(i) {
  atomic {
    if
    :: epoch == seen && record[i] -> epoch++; owner = i; ownerName = name[i]; live[i] = epoch
    :: else
    fi;
    seen = 0
  };
  if
  :: live[i] != 0 -> known[i] = stored
  :: else
  fi
}

inline End(i) { live[i] = 0; known[i] = 0 }     /* locally */

/* A request changes the live copy and stores it with the copy's epoch. */
inline Serve(i) {
  next = known[i] + 1;
  atomic {
    if
    :: FENCED(i) -> End(i)                      /* never retried */
    :: else ->
         assert(owner == i && live[i] == epoch);  /* one owner writes */
         assert(next == stored + 1);              /* nothing acknowledged is lost */
         stored = next; known[i] = next
    fi;
    next = 0
  }
}

inline Release(i) {
  atomic {
    if
    :: live[i] == epoch && releases > 0 -> releases--; owner = NOBODY; ownerName = 0; epoch++
    :: else
    fi;
    End(i)
  }
}

proctype replica(byte i) {
  byte seen, at, atName, next;
  mtype where;
  {
    do
    :: stored == WRITES -> break
    :: atomic { stored < WRITES && !record[i] -> name[i]++; record[i] = true; End(i) } /* a new incarnation; Lost */
    :: atomic { stored < WRITES && record[i] && live[i] == 0 -> seen = epoch; at = owner; atName = ownerName };
       Locate(i);
       if
       :: where == Free -> Claim(i)
       :: where == Elsewhere -> seen = 0        /* Forward: the owner serves it */
       fi
    :: stored < WRITES && live[i] != 0 -> Serve(i)
    :: stored < WRITES && live[i] != 0 && releases > 0 -> Release(i)
    od
  } unless { dead[i] }
}

proctype failure() {
  byte i;
  if
  :: true
  :: select(i : 0 .. N-1); dead[i] = true                                /* kill -9 */
  :: select(i : 0 .. N-1); atomic { dead[i] = true; record[i] = false }  /* Close */
  fi
}

init {
  atomic {
    byte i;
    for (i : 0 .. N-1) { record[i] = true; run replica(i) }
    run failure()
  }
}

ltl progress { <> (stored == WRITES) }
