"""What a victim is: real models, their parts, and the texts they train on."""
