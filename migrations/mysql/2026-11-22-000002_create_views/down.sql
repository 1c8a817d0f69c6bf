-- Removes the views. The tables that they show stay as they are.
DROP VIEW occupancies;
DROP VIEW conversations;
DROP VIEW jm;
