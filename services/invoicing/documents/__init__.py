"""What leaves the house: an invoice or credit note as HTML, PDF, UBL and CII, all from one plain `PrintedInvoice`."""
