//! What a writer stores of rooms: that they were seen, of what kind they are, who came and went.

use diesel::QueryResult;

use super::{Batch, Entry, Event, Memory, Micros, OccupancyRow, Queries, RoomRow, State};

impl Memory {
    pub(super) async fn occupancy<Q: Queries>(
        &mut self,
        db: &mut Q,
        entry: &Entry,
        events: &[Event],
        batch: &mut Batch,
    ) -> QueryResult<State> {
        for event in events {
            self.see_room(&event.room, event.at, 0, batch);
            let row = OccupancyRow {
                id: self.last.occupancy + 1,
                at: event.at,
                room_id: self.dictionary.jid(&event.room).unwrap_or_default(),
                jid_id: event.jid.as_ref().and_then(|jid| self.dictionary.jid(&jid.bare)),
                event: if event.joined { 1 } else { 2 },
                node_id: self.dictionary.node(entry.itself()),
                nick: event.nick.clone(),
                resource: event.jid.as_ref().and_then(|jid| jid.resource.clone()),
            };
            let feed = self.dictionary.node(&entry.node);
            if !self.feeds.has_occurred(db, feed, &row, &batch.occupancies, &mut batch.sightings).await? {
                self.last.occupancy = row.id;
                batch.occupancies.push(row);
            }
        }
        Ok(State::Skipped)
    }

    pub(super) async fn room_kind<Q: Queries>(
        &mut self,
        db: &mut Q,
        room: &str,
        persistent: bool,
        at: Micros,
        batch: &mut Batch,
    ) -> QueryResult<()> {
        let kind = if persistent { 1 } else { 2 };
        if self.see_room(room, at, kind, batch) {
            return Ok(());
        }
        let Some(room) = self.dictionary.jid(room) else { return Ok(()) };
        match batch.rooms.iter_mut().find(|row| row.jid_id == room) {
            Some(row) => row.kind = kind,
            None => db.set_room_kind(room, kind).await?,
        }
        Ok(())
    }

    /// Whether the room was new.
    pub(super) fn see_room(&mut self, room: &str, at: Micros, kind: i16, batch: &mut Batch) -> bool {
        let Some(jid_id) = self.dictionary.jid(room) else { return false };
        let is_new = self.rooms.insert(jid_id, self.batch).is_none();
        if is_new {
            batch.rooms.push(RoomRow { jid_id, kind, first_seen_at: at });
        }
        is_new
    }
}
